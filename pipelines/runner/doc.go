// Package runner submits Beam pipelines, follows them to their end, and answers what becomes of them.
//
// Prism, the Beam runner in Go, runs them in this process: its job server is started once, at a free port of the loopback
// interface. Flink and Spark run them behind a Beam job server (Engine.Endpoint).
//
// # Workers
//
// The code of a pipeline is this binary's, wherever it runs. With no Engine.Worker the process that submits is the worker
// too. ServeWorkers is a pool of them for an engine on any machine (`millrace worker`). With "process" the engine starts
// the binary itself, and Boot is what it then does. What a DoFn needs is registered when the program starts or carried by
// the pipeline, the name of the build included: CheckBuild refuses another one.
//
// # What is believed
//
// Beam's job service says that a job is cancelled while Flink goes on running it, and may repeat a state of a minute ago.
// So where Engine.Rest is given, Flink's own REST interface decides. Errors of DoFns come back as they were (package carry).
//
// Prism and the SDK log to slog's default logger, much of it when a pipeline is cancelled.
package runner
