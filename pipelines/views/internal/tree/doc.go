// Package tree is the SQL a person wrote and DuckDB's parse tree of it.
//
// A Node is an object of the tree as json_serialize_sql writes it; which fields it has hangs on its class (of an expression)
// or type (of a query or a table). This package reads trees (Walk, Position, FromTables), makes nodes (ColumnRef,
// SelectFrom) and changes trees (Rewrite, RenameRefs, CompleteOrder). It asks no engine: parsing and printing are the
// package engine's. Whoever is given a Node may change it; what must stay as it is, is cloned first.
//
// A node's location is a byte offset in the text that was parsed. A Source turns it into a file, a line and a column, also
// where texts of macros and other views were put into one tree. Where DuckDB gives no place, Lex cuts the text into tokens.
//
// Example: origin + 1 is
//
//	{"class": "FUNCTION", "type": "FUNCTION", "function_name": "+", "is_operator": true, "query_location": 14, "children": [
//		{"class": "COLUMN_REF", "type": "COLUMN_REF", "column_names": ["origin"], "query_location": 7},
//		{"class": "CONSTANT", "type": "VALUE_CONSTANT", "value": {"type": {"id": "INTEGER"}, "is_null": false, "value": 1}}]}
package tree
