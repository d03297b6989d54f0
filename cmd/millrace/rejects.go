package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/project"
	"github.com/millrace/millrace/serving"
)

func newRejects(a *app) *cobra.Command {
	list := &cobra.Command{
		Use:   "list TOPIC",
		Short: "Show the records that the decode refused, with field and reason",
		Example: `  millrace rejects list flights
  millrace rejects list flights --json`,
		Args:              cobra.ExactArgs(1),
		RunE:              func(cmd *cobra.Command, args []string) error { return runRejectsList(cmd.Context(), a, args[0]) },
		ValidArgsFunction: a.complete((*project.Project).TopicNames, 1, false),
	}
	return group(&cobra.Command{
		Use:     "rejects",
		Short:   "The records of a topic that do not fit its fields",
		Example: "  millrace rejects list flights",
	}, list)
}

func runRejectsList(ctx context.Context, a *app, topic string) error {
	if _, _, err := a.topic(topic); err != nil {
		return err
	}
	e, _, err := a.engineDespite(ctx, viewsIn(""))
	if err != nil {
		return err
	}
	defer e.Close()
	value := "value"
	if !a.json { // a person reads the text; where it is none, its bytes
		value = "coalesce(TRY(decode(value)), value::VARCHAR) AS value"
	}
	answer, err := e.server.Query(ctx, serving.Request{SQL: `SELECT _partition AS partition, _offset AS "offset", field, reason, ` + value + ` FROM rejects.` +
		schemas.QuoteIdent(topic) + ` ORDER BY 1, 2`})
	if err != nil {
		return err
	}
	defer answer.Close()
	if a.json {
		return answer.JSON(ctx, a.stdout)
	}
	return writeTable(ctx, a.stdout, answer, false)
}
