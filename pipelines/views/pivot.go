package views

func (x *expander) pivot(t node, f *frame) node {
	return t
}
