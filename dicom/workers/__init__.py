"""Worker processes: everything that decodes, renders or parses untrusted bytes beyond the bounded header walk."""
