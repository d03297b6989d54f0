package views

// Reference is a table of the reference folder.
type Reference struct {
	Name    string   `json:"name"`
	SQL     string   `json:"sql"`  // the SELECT that reads the file
	Hash    string   `json:"hash"` // 64 hex: of the content and the declaration
	Columns []Column `json:"columns"`
}
