//go:build engines

package millrace_test

import (
	"slices"
	"strings"
	"testing"
)

// Every process of the speed layer on Flink is killed with -9 while records flow and started again. Before each fault the
// job has completed checkpoints and its worker has published; after it the log tells of the recovery; and at rest every
// acknowledged record is in all answers once.
func TestFaultsOnFlink(t *testing.T) {
	f := openFlow(t)
	f.speed = f.begin("speed", "flights", "--parallelism", "4")
	id := f.running()
	f.watch()
	f.soon("slices of a first record", func() bool {
		if f.unseen() == 0 {
			f.send(1)
		}
		return f.seen() > 0
	})
	f.figures()
	for range 20 { // each has its slice before the next is sent
		f.send(1)
		f.soon("its slice", func() bool { return f.unseen() == 0 })
	}
	t.Logf("one record at a time, until its slice is seen: %s", f.figures())

	for _, fault := range []struct {
		name string
		do   func(id string) string // gives the id of the job that goes on
	}{
		{"taskmanager", func(id string) string {
			from := len(logOf(t, f.flink.JobManager, 0))
			f.must(f.flink.TaskManagers[0].Kill())
			f.must(f.flink.TaskManagers[0].Start(t.Context()))
			f.soon("the job is restored", func() bool { return strings.Contains(logOf(t, f.flink.JobManager, from), "Restoring job "+id) })
			return id
		}},
		{"worker", func(id string) string {
			from := len(logOf(t, f.flink.JobManager, 0))
			f.worker.kill()
			f.soon("the job fails", func() bool {
				return strings.Contains(logOf(t, f.flink.JobManager, from), "switched from state RUNNING to RESTARTING")
			})
			f.startWorker()
			f.soon("the job is restored", func() bool { return strings.Contains(logOf(t, f.flink.JobManager, from), "Restoring job "+id) })
			return id
		}},
		{"jobmanager", func(id string) string {
			f.must(f.flink.JobManager.Kill())
			f.must(f.flink.JobManager.Start(t.Context()))
			return f.running(id) // the jobmanager has forgotten the old one, which is submitted anew
		}},
		{"jobserver", func(id string) string {
			f.must(f.flink.JobServer.Kill())
			f.flows(id) // without it
			f.must(f.flink.JobServer.Start(t.Context()))
			return id
		}},
		{"speed", func(id string) string {
			f.speed.kill()
			f.flows(id) // the job does not need it
			f.speed = f.begin("speed", "flights", "--parallelism", "4")
			now := f.running(id)
			if state := f.jobs(f.job)[id]; state != "CANCELED" {
				t.Errorf("the job of the killed process is %s", state)
			}
			return now
		}},
	} {
		f.step = fault.name
		stop := f.stream()
		f.flows(id)
		before := f.figures()
		id = fault.do(id)
		f.flows(id)
		stop()
		f.rest()
		t.Logf("%s: %d records; from a record to its slice before the fault: %s; over the fault: %s", fault.name, f.sent, before, f.figures())
	}

	f.step = "end"
	f.speed.end()
	if alive := f.alive(); len(alive) > 0 {
		t.Errorf("speed has ended, and at Flink runs %v", alive)
	}
	f.cycle(int64(f.sent) - f.committed)
	f.whole()
}

// A pipeline is drained into a savepoint and goes on from it with four times the parallelism, and then without one.
func TestSavepointAndRescale(t *testing.T) {
	f := openFlow(t)
	f.step = "one"
	stop := f.stream()
	f.speed = f.begin("speed", "flights", "--parallelism", "1")
	id := f.running()
	f.flows(id)

	f.step = "drain"
	savepoint := strings.TrimSpace(f.run("pipelines", "drain", "speed-flights"))
	if !strings.HasPrefix(savepoint, "file:"+f.flink.Savepoints) {
		t.Errorf("the savepoint is %q", savepoint)
	}
	if err := <-f.speed.done; err != nil {
		t.Errorf("speed ends with %v when its pipeline is drained", err)
	}
	if state := f.jobs(f.job)[id]; state != "FINISHED" {
		t.Errorf("the drained job is %s", state)
	}

	f.step = "four from the savepoint"
	from := len(logOf(t, f.flink.JobManager, 0))
	f.speed = f.begin("speed", "flights", "--parallelism", "4", "--from-savepoint", savepoint)
	id = f.running(id)
	f.flows(id)
	if text := logOf(t, f.flink.JobManager, from); !strings.Contains(text, "Starting job "+id+" from savepoint "+savepoint) {
		t.Error("Flink's log does not tell of the savepoint")
	}
	if n := f.parallelism(id); !slices.Equal(n, []int{1, 4}) && !slices.Equal(n, []int{4}) {
		t.Errorf("the parallelism is %v", n)
	}
	stop()
	f.rest()

	f.step = "two by submission"
	f.speed.end()
	stop = f.stream()
	f.speed = f.begin("speed", "flights", "--parallelism", "2")
	now := f.running(id)
	f.flows(now)
	stop()
	f.rest()
	f.speed.end()
}

// parallelism are the parallelisms of a job's vertices.
func (f *flow) parallelism(id string) (out []int) {
	f.Helper()
	var job struct{ Vertices []struct{ Parallelism int } }
	f.ask("/jobs/"+id, &job)
	for _, v := range job.Vertices {
		out = append(out, v.Parallelism)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
