"""Place systems among those of SiSEC 2018, from the table of their scores."""
