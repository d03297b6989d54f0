package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strings"

	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/pipelines/dataset"
	"github.com/millrace/millrace/pipelines/kafkalog"
	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/slicelog"
	"github.com/millrace/millrace/pipelines/store"
	"github.com/millrace/millrace/schemas"
)

// tally puts an answer of the view campaigns into one number: equal for equal counts of every campaign and window. The
// relation's columns are campaign, start in milliseconds and count; a key may come in several rows.
func tally(ctx context.Context, session *kernel.Session, relation string) (int64, error) {
	rows, err := session.Query(ctx, "SELECT campaign, start, sum(seen)::BIGINT FROM "+relation+" AS t(campaign, start, seen) GROUP BY ALL ORDER BY ALL")
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	h := fnv.New64a()
	for rows.Next() {
		var campaign string
		var start, seen int64
		if err := rows.Scan(&campaign, &start, &seen); err != nil {
			return 0, err
		}
		fmt.Fprintln(h, campaign, start, seen)
	}
	return int64(h.Sum64()), rows.Err()
}

// tallyFile is the right answer: DuckDB over the lines themselves.
func tallyFile(ctx context.Context, j *Job, s *Sample) error {
	session, err := kernel.OpenSession(ctx, kernel.Limits{})
	if err != nil {
		return err
	}
	defer session.Close()
	s.Check, err = tally(ctx, session, fmt.Sprintf(`(SELECT campaign_id, event_time // 10000 * 10000, count(*)
		FROM read_json(%s, format = 'newline_delimited', columns = {ad_id: 'VARCHAR', event_type: 'VARCHAR', event_time: 'BIGINT'}) JOIN read_csv(%s) USING (ad_id)
		WHERE event_type = 'view' GROUP BY ALL)`, schemas.QuoteText(j.File), schemas.QuoteText(adsFile(j.Dir))))
	return err
}

// tallySlices is the answer that the speed layer has published.
func tallySlices(ctx context.Context, log *kafkalog.Log, topic, definition string) (int64, error) {
	start, end, err := log.Offsets(ctx, topic)
	if err != nil {
		return 0, err
	}
	info, err := log.Topic(ctx, topic)
	if err != nil {
		return 0, err
	}
	found, gaps, err := slicelog.Chosen(ctx, log, topic, info.ID, start, end, definition)
	if err == nil && len(gaps) > 0 {
		err = fmt.Errorf("no slice covers %s of %s", gaps[0], topic)
	}
	if err != nil {
		return 0, err
	}
	session, err := kernel.OpenSession(ctx, kernel.Limits{})
	if err != nil {
		return 0, err
	}
	defer session.Close()
	for i := range found {
		if err := importSlice(ctx, session, found[i].Payload); err != nil {
			return 0, err
		}
	}
	return tally(ctx, session, "(SELECT #1, epoch_ms(#2), #3 FROM slices)")
}

func importSlice(ctx context.Context, session *kernel.Session, payload []byte) error {
	r, err := ipc.NewReader(bytes.NewReader(payload))
	if err != nil {
		return err
	}
	defer r.Release()
	for r.Next() {
		if err := session.Import(ctx, "slices", r.RecordBatch()); err != nil {
			return err
		}
	}
	return r.Err()
}

// tallyCycle is the answer that a cycle has committed.
func tallyCycle(ctx context.Context, st store.Store, root, view string) (int64, error) {
	m, err := dataset.Newest(ctx, st, root)
	if err != nil {
		return 0, err
	}
	if m == nil {
		return 0, fmt.Errorf("there is no manifest in %s", root)
	}
	var paths []string
	for _, p := range m.Partials {
		if p.View == view && p.Rows > 0 {
			paths = append(paths, schemas.QuoteText(filepath.Join(st.URL(), root, p.Path)))
		}
	}
	session, err := kernel.OpenSession(ctx, kernel.Limits{})
	if err != nil {
		return 0, err
	}
	defer session.Close()
	return tally(ctx, session, fmt.Sprintf("(SELECT #1, epoch_ms(#2), #3 FROM read_parquet([%s]))", strings.Join(paths, ", ")))
}

// tallyParquet is the answer that an engine's own SQL has left in a folder, and how many records lie beside it.
func tallyParquet(ctx context.Context, j *Job, s *Sample) error {
	session, err := kernel.OpenSession(ctx, kernel.Limits{})
	if err != nil {
		return err
	}
	defer session.Close()
	files := func(folder string) string {
		return "read_parquet(" + schemas.QuoteText(filepath.Join(j.Store, folder, "part-*")) + ")"
	}
	if s.Check, err = tally(ctx, session, files("partial")); err != nil {
		return err
	}
	rows, err := session.Query(ctx, "SELECT count(DISTINCT (_partition, _offset)) FROM "+files("data"))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := rows.Scan(&s.Events); err != nil {
			return err
		}
	}
	return rows.Err()
}

// tallyTopic is the answer that an engine's own SQL has sent to a topic: of a key's counts the largest is the last.
func tallyTopic(ctx context.Context, j *Job, s *Sample) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(j.Brokers...), kgo.ConsumeTopics(j.Kafka))
	if err != nil {
		return err
	}
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(ctx, j.Kafka)
	if err != nil {
		return err
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	type row struct {
		Campaign string
		Bucket   int64
		Seen     int64
	}
	type key struct {
		campaign string
		bucket   int64
	}
	counts := map[key]int64{}
	for len(left) > 0 {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var one row
			if failed := json.Unmarshal(r.Value, &one); failed != nil {
				err = fmt.Errorf("%s[%d]@%d: %w", r.Topic, r.Partition, r.Offset, failed)
			}
			k := key{one.Campaign, one.Bucket}
			counts[k] = max(counts[k], one.Seen)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
		if err != nil {
			return err
		}
	}
	session, err := kernel.OpenSession(ctx, kernel.Limits{})
	if err != nil {
		return err
	}
	defer session.Close()
	var rows []string
	for k, n := range counts {
		rows = append(rows, fmt.Sprintf("(%s, %d, %d)", schemas.QuoteText(k.campaign), k.bucket, n))
	}
	if len(rows) == 0 {
		return fmt.Errorf("nothing is in %s", j.Kafka)
	}
	s.Check, err = tally(ctx, session, "(VALUES "+strings.Join(rows, ", ")+")")
	return err
}

// adsFile is the reference of the scratch project, as files are named to engines.
func adsFile(project string) string { return filepath.Join(project, "reference", "ads.csv") }
