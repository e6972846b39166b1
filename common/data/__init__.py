"""Files: data sets read and downloaded, networks loaded. For whoever brings data of their own."""
