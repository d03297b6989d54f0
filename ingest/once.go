package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace/millrace/schemas"
)

// ErrKeyReused: a request's key came before with other payloads.
var ErrKeyReused = errors.New("the key was used for other records")

const (
	requestHeader = "millrace-request"
	requestsTopic = "_millrace.requests"
	// A key is remembered for requestWindow, and not longer than requestKeys keys.
	requestWindow = 24 * time.Hour
	requestKeys   = 50_000
	// requestOffsets bounds the answers that are held in memory; others are read from the log again.
	requestOffsets = 500_000
)

// requestNote is what the topic _millrace.requests says of a request with a key: first a claim, with where the topic's
// partitions ended before its records were sent, then, with To, where they ended when all were durable.
//
// The topic has one partition, so its order decides between producers: a claim holds if the key's last note that counts
// before it is the one its writer had seen, and does not count else. Whoever has a claim that holds sends the records.
type requestNote struct {
	Version int              `json:"v"` // 1
	Topic   string           `json:"topic"`
	TopicID string           `json:"topic_id"`
	Key     string           `json:"key"`
	Records int              `json:"records"`
	Body    string           `json:"body"` // SHA-256 of the payloads, each with its length
	From    schemas.Frontier `json:"from"`
	After   int64            `json:"after,omitempty"` // of a claim: the offset after the note its writer had seen; 0: there was none
	To      schemas.Frontier `json:"to,omitempty"`

	at  int64 // its offset
	own bool  // written by this producer
}

// requests is what a producer knows of requests with keys. Its zero value knows nothing.
type requests struct {
	mu      sync.Mutex
	running map[string]*request // by topic/key
	done    map[string]*request
	order   []string // of done, oldest first
	held    int      // offsets in done

	// reading is held while the notes' topic is read, and shared by those who write to it: a reader knows all notes that
	// this producer wrote, and need not read them back.
	reading sync.RWMutex
	target  *target // nil: not read yet
	at      int64   // what lies below is in notes

	notes map[string]*requestNote // the last that counts of each key
	seen  []string                // of notes, oldest first

	writing sync.Mutex             // of what follows, for those who share reading
	own     map[int64]*requestNote // written by this producer and not in notes yet, by offset
}

// request is one that runs or has run. What follows ended may be read once it is closed.
type request struct {
	body     string
	topicID  string // what has run in another topic of the name has not run
	ended    chan struct{}
	offsets  []Offset
	replayed bool
	err      error
}

// AppendOnce is Append for a request that has a key. The same key and payloads again, also while the first is under way
// and also after a crash, give the same offsets, and what is in the log already is not appended again; replayed says
// that a request of that key had begun before. A key is remembered for a day at least, if not 50,000 others came since.
//
// It is exact for the reason that a run with an ID is: every record carries the header millrace-request (the key's hash
// and the record's index), and a note on the topic _millrace.requests says from which offsets on it can be. Of two
// processes that get a key at the same moment one sends the records and the other waits for them. The limit: a process
// whose records stop coming is taken for dead after two seconds, and what is missing is sent for it; if it was not, or if
// a batch was in the network for so long, those records are doubled.
//
// Errors: ErrKeyReused; else those of Append. A request that failed goes on in the background as long as the broker may
// still take its records, and a retry waits for that.
func (p *Producer) AppendOnce(ctx context.Context, topic *schemas.Topic, key string, payloads [][]byte) (offsets []Offset, replayed bool, err error) {
	if err := withinLimit(topic, payloads); err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	name, body := topic.Name+"/"+key, bodyHash(payloads)
	for {
		t, err := p.target(ctx, topic)
		if err != nil {
			return nil, false, err
		}
		rq, mine := p.requests.begin(name, body, t.id)
		if mine { // the client may go away, the outcome must be known all the same
			go p.appendOnce(context.WithoutCancel(ctx), topic, key, payloads, rq)
		}
		select {
		case <-rq.ended:
		case <-ctx.Done():
			return nil, false, p.problem(ctx.Err())
		}
		switch {
		case rq.body != body:
			return nil, false, fmt.Errorf("%s: %w", name, ErrKeyReused)
		case rq.err != nil && !mine && ctx.Err() == nil:
			continue // another caller's try failed while this one waited
		case rq.err != nil:
			return nil, false, rq.err
		}
		return rq.offsets, rq.replayed || !mine, nil
	}
}

// begin finds the request or makes it; mine says that the caller must run it.
func (r *requests) begin(name, body, topicID string) (rq *request, mine bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if rq = r.done[name]; rq != nil && rq.topicID == topicID {
		return rq, false
	}
	if rq = r.running[name]; rq != nil {
		return rq, false
	}
	if r.running == nil {
		r.running, r.done = map[string]*request{}, map[string]*request{}
	}
	rq = &request{body: body, ended: make(chan struct{})}
	r.running[name] = rq
	return rq, true
}

// end gives the outcome to all who wait and keeps a good one.
func (r *requests) end(name string, rq *request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, name)
	if rq.err == nil {
		if old := r.done[name]; old != nil {
			r.held -= len(old.offsets)
		} else {
			r.order = append(r.order, name)
		}
		r.done[name] = rq
		r.held += len(rq.offsets)
	}
	for len(r.order) > 1 && (len(r.order) > requestKeys || r.held > requestOffsets) {
		r.held -= len(r.done[r.order[0]].offsets)
		delete(r.done, r.order[0])
		r.order = r.order[1:]
	}
	close(rq.ended)
}

func (p *Producer) appendOnce(ctx context.Context, topic *schemas.Topic, key string, payloads [][]byte, rq *request) {
	begun, cancel := context.WithTimeout(ctx, p.o.Timeout)
	defer cancel()
	var n *requestNote
	t, err := p.target(begun, topic)
	for err == nil {
		rq.topicID = t.id
		if n, err = p.complete(begun, topic, t, key, payloads, rq); err == nil {
			break
		}
		if !p.replaced(begun, topic, t, err) {
			break
		}
		t, err = p.target(begun, topic)
	}
	rq.err = err
	p.requests.end(topic.Name+"/"+key, rq)
	if err != nil || n == nil {
		return
	}
	whole := *n
	whole.After, whole.To = 0, n.From.Clone()
	for _, o := range rq.offsets {
		whole.To[o.Partition] = max(whole.To[o.Partition], o.Offset+1)
	}
	// Without this note a later process reads the topic to its end: slower, not wrong.
	_, _ = p.noteRequest(begun, &whole)
}

// complete appends the request's payloads, or those of them that are not in the log. It returns the note to be
// completed, nil if that is done already.
func (p *Producer) complete(ctx context.Context, topic *schemas.Topic, t *target, key string, payloads [][]byte, rq *request) (n *requestNote, err error) {
	var missing []int
	for held := false; !held; { // another process may be faster with the claim
		if n, missing, err = p.lookForRequest(ctx, t, key, payloads, rq); err != nil || len(missing) == 0 {
			return n, err
		}
		if held, err = p.claimRequest(ctx, n); err != nil {
			return nil, p.notesProblem(err)
		}
	}
	prefix := requestPrefix(n)
	rest := make([][]byte, len(missing))
	for j, i := range missing {
		rest[j] = payloads[i]
	}
	s, err := p.send(ctx, topic, t, rest, func(j int) []kgo.RecordHeader {
		return []kgo.RecordHeader{{Key: requestHeader, Value: strconv.AppendInt([]byte(prefix), int64(missing[j]), 10)}}
	})
	if err != nil {
		return nil, err
	}
	<-s.all // however long the broker is away: a record whose fate is not known must not be sent again
	if s.err != nil {
		return nil, p.problem(s.err)
	}
	for j, i := range missing {
		rq.offsets[i] = Offset{Partition: s.recs[j].Partition, Offset: s.recs[j].Offset}
	}
	return n, nil
}

// lookForRequest says which of the payloads are not in the log, fills in the offsets of those that are, and gives the
// claim to be made before the missing ones are sent; nil if the request is known to be complete.
func (p *Producer) lookForRequest(ctx context.Context, t *target, key string, payloads [][]byte, rq *request) (claim *requestNote, missing []int, err error) {
	before, err := p.requestNote(ctx, t.name+"/"+key, -1)
	if err != nil {
		return nil, nil, p.notesProblem(err)
	}
	rq.offsets = make([]Offset, len(payloads))
	claim = &requestNote{Version: 1, Topic: t.name, TopicID: t.id, Key: key, Records: len(payloads), Body: rq.body}
	if before != nil {
		claim.After = before.at + 1
	}
	var found map[int]Offset
	if rq.replayed = before != nil && before.TopicID == t.id; rq.replayed {
		if before.Body != rq.body || before.Records != len(payloads) {
			return nil, nil, fmt.Errorf("%s/%s: %w", t.name, key, ErrKeyReused)
		}
		claim.From = before.From
		found, err = p.findRequest(ctx, t, before)
	} else {
		claim.From, err = p.ends(ctx, t.name)
	}
	if err != nil {
		return nil, nil, err
	}
	for i := range payloads {
		at, ok := found[i]
		if rq.offsets[i] = at; !ok {
			missing = append(missing, i)
		}
	}
	if !rq.replayed || before.To == nil {
		return claim, missing, nil
	}
	if len(missing) > 0 {
		return nil, nil, &schemas.Problem{Kind: schemas.Usage, Message: "the request's records were durable and are not in the log any more", Hint: "there is nothing to send again"}
	}
	return nil, nil, nil
}

// claimRequest writes the claim and says whether it holds.
func (p *Producer) claimRequest(ctx context.Context, claim *requestNote) (held bool, err error) {
	at, err := p.noteRequest(ctx, claim)
	if err != nil {
		return false, err
	}
	last, err := p.requestNote(ctx, claim.Topic+"/"+claim.Key, at)
	return last != nil && last.at == at, err
}

// requestPrefix is what the headers of the request's records begin with.
func requestPrefix(n *requestNote) string {
	sum := sha256.Sum256([]byte(n.Key))
	return hex.EncodeToString(sum[:16]) + "/"
}

func bodyHash(payloads [][]byte) string {
	h := sha256.New()
	var size [8]byte
	for _, v := range payloads {
		binary.LittleEndian.PutUint64(size[:], uint64(len(v)))
		h.Write(size[:])
		h.Write(v)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// findRequest reads the topic for the records of a request, by index. Another process may still have some on their way:
// unless the note says that all are durable it waits until none of them has come for a while, whatever else comes.
func (p *Producer) findRequest(ctx context.Context, t *target, n *requestNote) (map[int]Offset, error) {
	found := map[int]Offset{}
	prefix := []byte(requestPrefix(n))
	from, to := n.From, n.To
	for looks := 0; ; looks++ {
		if n.To == nil {
			var err error
			if to, err = p.ends(ctx, t.name); err != nil {
				return nil, err
			}
		}
		before := len(found)
		err := p.read(ctx, t.name, full(from, to), to, func(r *schemas.Record) {
			for _, h := range r.Headers {
				if h.Key != requestHeader || !bytes.HasPrefix(h.Value, prefix) {
					continue
				}
				if i, err := strconv.Atoi(string(h.Value[len(prefix):])); err == nil && i >= 0 && i < n.Records {
					found[i] = Offset{Partition: r.Partition, Offset: r.Offset}
				}
			}
		})
		if err != nil {
			return nil, p.problem(err)
		}
		if n.To != nil || n.own || len(found) == n.Records || looks > 0 && len(found) == before {
			return found, nil
		}
		select {
		case <-time.After(settle):
		case <-ctx.Done():
			return nil, p.problem(ctx.Err())
		}
		from = to
	}
}

// full is from with every partition of to.
func full(from, to schemas.Frontier) schemas.Frontier {
	out := schemas.Frontier{}
	for part := range to {
		out[part] = from[part]
	}
	return out
}

// settle is how long none of a request's records must have come before those that are missing are taken for lost. It is
// more than a producer waits between two tries.
const settle = 2 * time.Second

// requestNote is the last note of the key that counts, nil if there is none. It knows all notes up to the one at an
// offset; -1: up to the topic's end.
func (p *Producer) requestNote(ctx context.Context, name string, upTo int64) (*requestNote, error) {
	r := &p.requests
	r.reading.Lock()
	defer r.reading.Unlock()
	if r.target == nil {
		t, err := p.find(ctx, requestsTopic, 1, nil)
		if err != nil {
			return nil, err
		}
		begin, err := p.adm.ListOffsetsAfterMilli(ctx, time.Now().Add(-requestWindow).UnixMilli(), requestsTopic)
		if err == nil {
			err = begin.Error()
		}
		if err != nil {
			return nil, err
		}
		first, _ := begin.Lookup(requestsTopic, 0)
		r.target, r.at, r.notes, r.seen = t, first.Offset, map[string]*requestNote{}, nil
	}
	end := upTo + 1
	if upTo < 0 {
		ends, err := p.ends(ctx, requestsTopic)
		if err != nil {
			return nil, err
		}
		end = ends[0]
	}
	r.pass()
	if r.at < end {
		if err := p.read(ctx, requestsTopic, schemas.Frontier{0: r.at}, schemas.Frontier{0: end}, func(rec *schemas.Record) {
			n := r.own[rec.Offset]
			if n == nil {
				n = &requestNote{at: rec.Offset}
				if json.Unmarshal(rec.Value, n) != nil || n.Version != 1 {
					return
				}
			}
			delete(r.own, rec.Offset)
			r.remember(n)
		}); err != nil {
			return nil, err
		}
		r.at = end
	}
	return r.notes[name], nil
}

// notesProblem is the error of reading or writing notes. If their topic was deleted it is looked up again the next time.
func (p *Producer) notesProblem(err error) error {
	if !isGone(err) {
		return p.problem(err)
	}
	p.requests.reading.Lock()
	defer p.requests.reading.Unlock()
	p.requests.target, p.requests.own = nil, nil
	p.cl.PurgeTopicsFromProducing(requestsTopic)
	return &schemas.Problem{Kind: schemas.Failed, Message: fmt.Sprintf("the topic %s was deleted (%v)", requestsTopic, err), Hint: "send the request again"}
}

// pass moves at over the notes that this producer wrote.
func (r *requests) pass() {
	for n := r.own[r.at]; n != nil; n = r.own[r.at] {
		r.remember(n)
		delete(r.own, r.at)
		r.at++
	}
}

// remember takes in the next note of the topic; a claim that does not hold does not count.
func (r *requests) remember(n *requestNote) {
	name := n.Topic + "/" + n.Key
	switch before := r.notes[name]; {
	case before == nil:
		r.seen = append(r.seen, name)
	case n.To == nil && n.After != before.at+1:
		return
	}
	r.notes[name] = n
	for len(r.seen) > requestKeys {
		delete(r.notes, r.seen[0])
		r.seen = r.seen[1:]
	}
}

// noteRequest makes the note durable, at an offset.
func (p *Producer) noteRequest(ctx context.Context, n *requestNote) (at int64, err error) {
	data, err := json.Marshal(n)
	if err != nil {
		return 0, err
	}
	r := &p.requests
	r.reading.RLock()
	defer r.reading.RUnlock()
	rec := &kgo.Record{Topic: requestsTopic, Key: []byte(n.Topic + "/" + n.Key), Value: data}
	if err := p.produce(ctx, rec); err != nil {
		return 0, err
	}
	kept := *n
	kept.at, kept.own = rec.Offset, true
	r.writing.Lock()
	defer r.writing.Unlock()
	if r.own == nil {
		r.own = map[int64]*requestNote{}
	}
	r.own[rec.Offset] = &kept
	return rec.Offset, nil
}
