"""What people do with their own account: register, prove their address, change what is theirs, take it along, leave."""
