// Command millrace is the one binary: every verb is a file of this package that wires the layers together.
package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // jobs name time zones, also on machines that carry none
)

func main() {
	tuneMemory()
	// The runner in process and its SDK log to the default logger; what matters of it comes back as an error.
	slog.SetDefault(slog.New(slog.DiscardHandler))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
