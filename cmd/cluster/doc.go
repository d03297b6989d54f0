// Package cluster runs a real Kafka, Flink and Spark on this machine, from Maven artifacts, for trying things out and for
// the tests. Whatever it starts listens on the loopback interface only.
//
// # Parts
//
//   - fetch.go: the jars of each engine, pinned by poms/, once into a cache folder
//   - sql.go: Flink SQL and Spark SQL by themselves, what millrace is measured beside; flight.go: what a JVM spends its time on
//   - java.go: the JDK that is there; pyspark.go: a Python that drives the fetched Spark
//   - process.go: a process with its log and its record on disk; a record names a process by id and start time, so that
//     an id that the system gave to another process is never signalled
//   - home.go: an engine's folder: its lock, its state, its records
//   - kafka.go, certificates.go; flink.go; spark.go: the engines
//   - ports.go: ports that are free, and who holds one that is not
//   - java/ServerFactory.java: stands before Beam's class of this name, which binds every interface whatever host the
//     job server is told. It is compiled with the JDK's javac when an engine is fetched.
package cluster
