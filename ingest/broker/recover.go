package broker

import (
	"bufio"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// kfake's files, as far as they are written here; version 1 of its persistence format.
type (
	kfakeSnapshot struct {
		Version          int             `json:"version"`
		HighWatermark    int64           `json:"high_watermark"`
		LastStableOffset int64           `json:"last_stable_offset"`
		LogStartOffset   int64           `json:"log_start_offset"`
		Epoch            int32           `json:"epoch"`
		MaxTimestamp     int64           `json:"max_timestamp"`
		CreatedAt        time.Time       `json:"created_at"`
		AbortedTxns      json.RawMessage `json:"aborted_txns,omitempty"`
		Segments         []kfakeSegment  `json:"segments"`
	}
	kfakeSegment struct {
		BaseOffset int64 `json:"base_offset"`
		Size       int64 `json:"size"`
		MinEpoch   int32 `json:"min_epoch,omitempty"`
		MaxEpoch   int32 `json:"max_epoch,omitempty"`
	}
	kfakeWindows struct {
		Version int           `json:"version"`
		Windows []kfakeWindow `json:"windows"`
	}
	kfakeWindow struct {
		PID     int64         `json:"pid"`
		Topic   string        `json:"topic"`
		Part    int32         `json:"partition"`
		Entries [5]kfakeEntry `json:"entries"`
		Count   uint8         `json:"count"`
		At      uint8         `json:"at"`
		Epoch   int16         `json:"epoch"`
		Seen    bool          `json:"seen"`
		NextSeq int32         `json:"next_seq"`
	}
	kfakeEntry struct {
		FirstSeq int32 `json:"first_seq"`
		NextSeq  int32 `json:"next_seq"`
		Offset   int64 `json:"offset"`
	}
)

// recovery is what a pass over a crashed directory found.
type recovery struct {
	Partitions int
	Bytes      int64 // read
	Cut        int64 // torn bytes cut from the ends of partitions
}

// recoverDir makes the directory of a broker that was not closed in order whole again: it checks every batch, cuts
// torn ends, and writes the partition snapshots and the producers' sequence windows from what the log says.
//
// Errors: a batch that is broken elsewhere than at a partition's end is a Problem, and nothing has been cut then.
func recoverDir(ctx context.Context, dir string) (recovery, error) {
	var rep recovery
	root := filepath.Join(dir, "partitions")
	entries, err := os.ReadDir(root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return rep, dirProblem(dir, err)
	}
	var parts []*partition
	for _, e := range entries {
		p, ok := partitionOf(e)
		if !ok {
			continue
		}
		if err := ctx.Err(); err != nil {
			return rep, err
		}
		p.dir = filepath.Join(root, e.Name())
		if err := p.scan(); err != nil {
			return rep, err
		}
		parts = append(parts, p)
	}
	out := kfakeWindows{Version: 1, Windows: []kfakeWindow{}}
	for _, p := range parts {
		cut, err := p.write()
		if err != nil {
			return rep, dirProblem(p.dir, err)
		}
		rep.Partitions++
		rep.Bytes += p.bytes
		rep.Cut += cut
		for _, w := range p.windows {
			out.Windows = append(out.Windows, *w)
		}
	}
	slices.SortFunc(out.Windows, func(a, b kfakeWindow) int {
		return cmp.Or(cmp.Compare(a.PID, b.PID), cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Part, b.Part))
	})
	data, err := json.Marshal(out)
	if err == nil {
		err = writeFile(filepath.Join(dir, "seq_windows.json"), data)
	}
	if err != nil {
		return rep, dirProblem(dir, err)
	}
	return rep, nil
}

// partition is one partition's folder while it is recovered.
type partition struct {
	dir     string
	topic   string
	part    int32
	snap    kfakeSnapshot
	windows map[int64]*kfakeWindow // by producer id
	batches int
	txn     bool
	sizes   []int64 // of the segment files as found
	bytes   int64
}

// partitionOf reads a folder's name: the topic, escaped as in a URL path, a dash and the partition.
func partitionOf(e fs.DirEntry) (*partition, bool) {
	i := strings.LastIndexByte(e.Name(), '-')
	if !e.IsDir() || i < 0 {
		return nil, false
	}
	topic, err := url.PathUnescape(e.Name()[:i])
	n, nerr := strconv.ParseInt(e.Name()[i+1:], 10, 32)
	if err != nil || nerr != nil {
		return nil, false
	}
	return &partition{topic: topic, part: int32(n), windows: map[int64]*kfakeWindow{}}, true
}

func (p *partition) scan() error {
	bases, err := segments(p.dir)
	if err != nil {
		return dirProblem(p.dir, err)
	}
	p.snap = kfakeSnapshot{Version: 1, CreatedAt: time.Now().UTC()}
	if data, err := os.ReadFile(filepath.Join(p.dir, "snapshot.json")); err == nil {
		var old kfakeSnapshot
		if json.Unmarshal(data, &old) == nil && old.Version == 1 {
			p.snap.LogStartOffset, p.snap.CreatedAt = old.LogStartOffset, old.CreatedAt
			p.snap.Epoch = old.Epoch
			p.txn = len(old.AbortedTxns) > 0
		}
	}
	for i, base := range bases {
		if err := p.segment(base, i == len(bases)-1); err != nil {
			return err
		}
	}
	p.snap.LogStartOffset = min(p.snap.LogStartOffset, p.snap.HighWatermark)
	p.snap.LastStableOffset = p.snap.HighWatermark
	return nil
}

// segment reads one segment file; only the last of a partition may end in a torn batch.
func (p *partition) segment(base int64, last bool) error {
	path := filepath.Join(p.dir, fmt.Sprintf("%d.dat", base))
	f, err := os.Open(path)
	if err != nil {
		return dirProblem(p.dir, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return dirProblem(p.dir, err)
	}
	seg := kfakeSegment{BaseOffset: base, MinEpoch: p.snap.Epoch, MaxEpoch: p.snap.Epoch}
	r := bufio.NewReaderSize(f, 1<<20)
	var buf []byte
	for seg.Size < info.Size() {
		n, b, ok, err := readBatch(r, buf, info.Size()-seg.Size)
		buf = b
		if err != nil {
			return dirProblem(p.dir, err)
		}
		if !ok {
			if !last || !torn(buf, info.Size()-seg.Size) {
				return &schemas.Problem{Kind: schemas.Environment, File: path,
					Message: fmt.Sprintf("the log is damaged at byte %d, after offset %d of %s[%d]", seg.Size, p.snap.HighWatermark, p.topic, p.part),
					Hint:    "nothing was changed; restore the file from a copy, or move it and those after it away to go on without their records"}
			}
			break
		}
		p.batch(b, p.batches == 0, &seg)
		seg.Size += n
	}
	p.bytes += info.Size()
	p.sizes = append(p.sizes, info.Size())
	p.snap.Segments = append(p.snap.Segments, seg)
	return nil
}

// readBatch reads the next batch into buf, grown as needed. Not ok: what follows is no whole batch; buf then holds
// the header's bytes, as far as there are any.
func readBatch(r *bufio.Reader, buf []byte, left int64) (n int64, b []byte, ok bool, err error) {
	head, err := r.Peek(int(min(left, headerSize)))
	if err != nil {
		return 0, buf, false, err
	}
	buf = append(buf[:0], head...)
	if len(head) < headerSize {
		return 0, buf, false, nil
	}
	n = int64(binary.BigEndian.Uint32(head[atLength:])) + atLeaderEpoch
	if n < headerSize || n > left || head[atMagic] != 2 {
		return 0, buf, false, nil
	}
	buf = slices.Grow(buf[:0], int(n))[:n]
	if _, err := io.ReadFull(r, buf); err != nil {
		return 0, buf, false, err
	}
	if binary.BigEndian.Uint32(buf[atCRC:]) != crc32.Checksum(buf[atAttributes:], castagnoli) {
		return n, buf, false, nil
	}
	return n, buf, true, nil
}

// torn says whether a batch that is not whole reaches to the file's end, as one does whose write was cut short. A
// machine that lost power can leave zeros instead.
func torn(head []byte, left int64) bool {
	if len(head) < headerSize {
		return true
	}
	n := int64(binary.BigEndian.Uint32(head[atLength:])) + atLeaderEpoch
	return n >= left || binary.BigEndian.Uint32(head[atLength:]) == 0 && head[atMagic] == 0
}

func (p *partition) batch(b []byte, first bool, seg *kfakeSegment) {
	offset := int64(binary.BigEndian.Uint64(b[atBaseOffset:]))
	count := int32(binary.BigEndian.Uint32(b[atCount:]))
	epoch := int32(binary.BigEndian.Uint32(b[atLeaderEpoch:]))
	if first {
		p.snap.LogStartOffset = max(p.snap.LogStartOffset, offset)
	}
	p.batches++
	p.snap.HighWatermark = offset + int64(int32(binary.BigEndian.Uint32(b[atLastDelta:]))) + 1
	p.snap.Epoch = max(p.snap.Epoch, epoch)
	p.snap.MaxTimestamp = max(p.snap.MaxTimestamp, int64(binary.BigEndian.Uint64(b[atMaxTime:])))
	seg.MinEpoch, seg.MaxEpoch = min(seg.MinEpoch, epoch), max(seg.MaxEpoch, epoch)
	p.txn = p.txn || binary.BigEndian.Uint16(b[atAttributes:])&txnBits != 0
	pid := int64(binary.BigEndian.Uint64(b[atProducerID:]))
	if pid < 0 {
		return
	}
	w := p.windows[pid]
	if w == nil {
		w = &kfakeWindow{PID: pid, Topic: p.topic, Part: p.part}
		p.windows[pid] = w
	}
	w.push(int16(binary.BigEndian.Uint16(b[atEpoch:])), int32(binary.BigEndian.Uint32(b[atSequence:])), count, offset)
}

// push does to a window what kfake did when it accepted the batch.
func (w *kfakeWindow) push(epoch int16, seq, count int32, offset int64) {
	next := int32((int64(seq) + int64(count)) % math.MaxInt32)
	if !w.Seen || epoch != w.Epoch {
		w.Seen, w.Epoch = true, epoch
		w.Entries, w.At, w.Count = [5]kfakeEntry{}, 0, 0
	}
	w.NextSeq = next
	w.Entries[w.At] = kfakeEntry{FirstSeq: seq, NextSeq: next, Offset: offset}
	w.At = (w.At + 1) % 5
	w.Count = min(w.Count+1, 5)
}

// write cuts the torn end and writes the snapshot. A partition with transactions is left to kfake's own recovery.
func (p *partition) write() (cut int64, err error) {
	for i, s := range p.snap.Segments {
		if s.Size == p.sizes[i] {
			continue
		}
		f, err := os.OpenFile(filepath.Join(p.dir, fmt.Sprintf("%d.dat", s.BaseOffset)), os.O_WRONLY, 0)
		if err != nil {
			return cut, err
		}
		err = errors.Join(f.Truncate(s.Size), f.Sync(), f.Close())
		if err != nil {
			return cut, err
		}
		cut += p.sizes[i] - s.Size
	}
	if p.txn || p.batches == 0 {
		return cut, nil
	}
	data, err := json.Marshal(p.snap)
	if err != nil {
		return cut, err
	}
	return cut, writeFile(filepath.Join(p.dir, "snapshot.json"), data)
}

// segments lists the base offsets of a partition's segment files in order.
func segments(dir string) ([]int64, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []int64
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".dat"); ok {
			if base, err := strconv.ParseInt(name, 10, 64); err == nil {
				out = append(out, base)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

// newestAppend is the newest append time that the partition snapshots name, milliseconds; 0 if none does.
func newestAppend(dir string) (newest int64) {
	files, _ := filepath.Glob(filepath.Join(dir, "partitions", "*", "snapshot.json"))
	for _, f := range files {
		var s kfakeSnapshot
		if data, err := os.ReadFile(f); err == nil && json.Unmarshal(data, &s) == nil {
			newest = max(newest, s.MaxTimestamp)
		}
	}
	return newest
}
