// Package jobs runs the scheduled questions of a project. A run answers a job's SQL for one interval [previous due time,
// this due time) over one pinned snapshot and writes one file; a history says durably what was begun and how it ended.
//
// # The order of a run, and every crash point
//
//	step                                     a crash after it leaves
//	1. lock the job                          nothing: the system frees the lock
//	2. history: start                        a run without an end: "lost"; it is run again
//	3. answer into a temporary file, sync    the same, and the temporary file, which the next run of the interval removes
//	4. history: cover                        the same; the next run of the interval answers over the snapshot noted here
//	5. rename to the output, sync folder     the same, and the output, whole; the next run writes the same bytes over it
//	6. history: end                          a run that is done
//
// The same interval twice gives the same file: a run of an interval that was covered before answers over the snapshot of
// the last cover, whatever has arrived since, unless it is asked for a fresh one. Every file that ever had the output's
// name has its cover in the history.
//
// # The history's format
//
// FOLDER is .millrace/jobs of the project, and jobs of the store on a Kafka cluster: there all machines see one history and
// one lock, so the file system between them must carry flock (NFS 4, CephFS and EFS do).
//
//	FOLDER/JOB/lock                  held (flock) for as long as a run takes; who holds it and for what: {"pid","host","due"}
//	FOLDER/JOB/mark.json             up to when the schedule has been dealt with, see Pending
//	FOLDER/JOB/YYYY-MM-DD.history    the runs of the intervals due on that day, UTC; lines are only ever added
//
// A line is 8 hexadecimal digits, a space, a JSON object without line breaks, and a line feed. The digits are the CRC-32C
// of the object's bytes. A line is synced before what comes after it is begun. What follows the last good line is a write
// that was cut short: readers pass over it, and the next writer cuts it off. A bad line before a good one is damage, and
// an error. Lines of a run follow each other, since a job's runs exclude each other:
//
//	{"event":"start","at","due","from","to","by","pid","host","output","pinned"}   by: schedule, hand or backfill
//	{"event":"retry","at","error"}                                          an attempt failed, another follows
//	{"event":"cover","at","bytes","sha256","certificate"}                   the answer lies in a temporary file
//	{"event":"end","at","outcome","error"}                                  outcome: done, failed or interrupted
//
// Times are RFC 3339 in UTC; bytes and sha256 are the output's. Example:
//
//	117f5127 {"event":"end","at":"2026-01-05T06:00:02Z","outcome":"done"}
package jobs
