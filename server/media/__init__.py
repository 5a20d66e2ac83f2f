"""Media between three and more seats: the interface of a relay, and the packet relay behind it."""
