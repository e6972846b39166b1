"""What every script shares and no lesson depends on: flags, data, device, pictures and run folders."""
