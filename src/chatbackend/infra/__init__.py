"""What the backend stands on: sockets, disks, databases and processes behind the ports."""
