// Package decode turns JSON payloads into Arrow columns, strictly and without loss: a value becomes its declared type
// exactly, or the record is a reject with its field and a reason. Nothing is rounded, wrapped, cut or turned into NULL
// because it did not fit.
//
// The way of one record: a hand-written pass (fast.go) reads the plain shapes. Whatever it does not recognise, and
// whatever looks wrong, it leaves; the columns are truncated to the last whole row and jsontext, which is the judge,
// reads the record anew (judge.go). Only the judge words reasons, so they are the same for any set of wanted columns.
// Both passes hand scalar texts to the same nodes (node.go), which hold the rules of the types; a node without a
// column checks and builds nothing. Columns (column.go) are Arrow buffers that can be truncated.
//
// The rules beyond face.md's, each held by a test:
//   - A text for a number is exactly what JSON would take as a number: "12", "-1.50", "1e2"; not "+1", "012", ".5".
//   - BOOLEAN is true, false, "true" or "false". VARCHAR may hold U+0000, as DuckDB's may.
//   - BLOB is DuckDB's text form: ASCII, with \xAA for any byte, a backslash among them.
//   - A date and time is YYYY-MM-DD, then T or a space, HH:MM[:SS[.digits]], then nothing, Z, ±HH, ±HHMM or ±HH:MM.
//     Years other than 0000 to 9999 have a sign or more digits. 24:00 is the midnight that ends the day, as in
//     DuckDB; a leap second is refused. More digits than the type holds are refused unless they are zeros.
//   - A time of day other than midnight UTC is refused for DATE. TIME has no offset; TIMETZ keeps it, +00 if absent.
//   - INTERVAL is as DuckDB prints it: 1 year 2 months 3 days 04:05:06.789, units singular, plural or week(s),
//     hour(s), minute(s), second(s), milliseconds, microseconds; whole numbers only, except in the clock part.
//   - UUID is 8-4-4-4-12 hexadecimal digits; BIT is 0s and 1s, at least one; ENUM is one of its values.
//   - JSON keeps the value's text without the space between its tokens. A null is NULL, as everywhere.
//   - STRUCT is an object; a missing name is NULL, one that is not declared a reject. MAP is an object whose names are
//     literals of the key's type; two names with one value are a reject. An ARRAY has exactly its length.
package decode
