SELECT max(version) FROM policies
