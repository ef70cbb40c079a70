UPDATE relay_cursor SET published = $1, heads = $2
