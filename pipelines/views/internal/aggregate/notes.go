package aggregate

import (
	"fmt"
	"strings"
)

// keptBy is what partials keep of an aggregate in a few columns, where it is not the aggregate itself.
var keptBy = map[string]string{
	"avg": "the exact sum and the count", "min": "the n smallest", "max": "the n largest",
	"var_pop": "count, mean and squares around the mean", "covar_pop": "count, means and products around the means",
}

// Note says to a person what the state of a call that was reduced keeps; empty where it is the aggregate itself.
func (a Call) Note() string {
	kept, ok := keptBy[a.Name]
	switch name := a.Plain(); {
	case name == "min" && a.Distinct && len(a.Args) == 2 && strings.HasPrefix(a.Args[0], "hash("):
		return fmt.Sprintf("approx_count_distinct: the %s smallest hashes are kept; exact below that number, then with a standard error of 2.2 %%", a.Args[1])
	case (name == "min" || name == "max") && len(a.Args) == 1 && strings.Contains(a.Args[0], "struct_pack("):
		return "first, last, any_value, arg_min, arg_max: the value is kept with its place in the log, which decides between equals"
	case name == "min" || name == "max":
		ok = ok && len(a.Args) == 2
	case name == "avg":
	case a.isMoment() && len(a.Args) == 2:
		kept, ok = keptBy["covar_pop"], true
	case a.isMoment():
		kept, ok = keptBy["var_pop"], true
	}
	if !ok {
		return ""
	}
	return a.Name + ": " + kept + " are kept"
}
