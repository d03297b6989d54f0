package main

import (
	"github.com/spf13/cobra"

	"github.com/millrace/millrace/schemas/project"
)

// completion gives the words for a shell to complete an argument with. A project that cannot be read has none.
type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// complete offers names of the project, each once; after the first `limit` arguments, files are offered if files is set.
func (a *app) complete(names func(*project.Project) []string, limit int, files bool) completion {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if limit > 0 && len(args) >= limit {
			if files {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		p, _ := project.Open(a.dir)
		if p == nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names(p), cobra.ShellCompDirectiveNoFileComp
	}
}
