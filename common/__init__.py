"""What no lesson teaches: flags, data, processors, pictures and run folders."""
