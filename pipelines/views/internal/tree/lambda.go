package tree

import "strings"

// lambdaFunctions take a lambda; anywhere else, a -> b takes a value out of JSON.
var lambdaFunctions = map[string]bool{
	"list_transform": true, "array_transform": true, "list_apply": true, "array_apply": true, "apply": true,
	"list_filter": true, "array_filter": true, "filter": true, "list_reduce": true, "array_reduce": true, "reduce": true,
}

// LambdaParams are the names that the lambdas among a function's arguments bind, in lower case.
func (n Node) LambdaParams() []string {
	if n.Class() != "FUNCTION" || !lambdaFunctions[strings.ToLower(n.Str("function_name"))] {
		return nil
	}
	var out []string
	for _, arg := range n.Nodes("children") {
		if arg.Class() == "LAMBDA" {
			Walk(arg["lhs"], func(p Node) bool {
				if p.Class() == "COLUMN_REF" {
					out = append(out, strings.ToLower(p.ColumnNames()[0]))
				}
				return true
			})
		}
	}
	return out
}

// RenameLambda gives a parameter of the lambdas among a function's arguments another name.
func RenameLambda(n Node, old, name string) {
	for _, arg := range n.Nodes("children") {
		if arg.Class() == "LAMBDA" {
			RenameRefs(arg, old, name, true)
		}
	}
}
