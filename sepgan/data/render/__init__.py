"""Songs with stems out of MIDI files and SoundFonts, for those who have few multitracks.

`midi` splits a file into stems, `performance` draws how it is played, `fluidsynth` plays it, `song` writes the folder,
`singing` lays real voices over it in key, and `pictures` shows what came out. Where `band` has drawn so, drums and bass
are played on samples instead: `kits` reads them, `drums` and `pitch` tell what they are, and `sampler` plays them.
"""
