"""Songs with stems out of MIDI files and SoundFonts, for those who have few multitracks.

`midi` splits a file into stems, `performance` draws how it is played, `fluidsynth` plays it, `song` writes the folder,
`singing` lays real voices over it in key, and `pictures` shows what came out.
"""
