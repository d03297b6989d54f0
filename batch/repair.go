package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/pipelines/kernel"
	"github.com/millrace/millrace/pipelines/versions"
	"github.com/millrace/millrace/pipelines/views"
	"github.com/millrace/millrace/schemas"
	"github.com/millrace/millrace/schemas/manifest"
)

// errOtherBytes: a file that was made again is not the one the manifest names.
var errOtherBytes = errors.New("it came out with other bytes")

// orphanAge is how old an orphan must be to be removed.
const orphanAge = time.Hour

// Repair is Fsck, and then puts right what it found. A damaged or missing file is made again under its name: a partial
// from its data file, everything from the log where Kafka still has the range. The bytes are the same, for Build is
// deterministic. Where they are not (another version of the engine wrote the file), the next manifest, with the same
// frontier, names the new file, if it has as many rows; and it drops a partial that cannot be made, or was folded, which
// the next cycles make anew if a view still has its definition. What is lost is said.
//
// Orphans older than an hour are removed if no cycle can name them any more. That does not hang on a clock or a lock: a
// cycle commits only on the newest manifest, and names beside what that one names only files that begin at its frontier
// or later, and partials of its ranges or of such that lie side by side. So an orphan that begins below the frontier, and is
// no partial from where a named file begins to where one ends, belongs to a cycle that has lost already. Others are left:
// the next cycle takes their names or passes them.
func (in *Input) Repair(ctx context.Context, now time.Time) (*Findings, error) {
	i, err := in.inspect(ctx)
	if err == nil {
		err = in.repair(ctx, i, now)
	}
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("repair %s: %w", in.Topic.Name, err)
	}
	return i.Findings, nil
}

func (in *Input) repair(ctx context.Context, i *inspection, now time.Time) error {
	i.Lost = append(i.Lost, i.beyond...)
	m := i.manifest
	if m == nil {
		return nil
	}
	files, rejects := slices.Clone(m.Files), slices.Clone(m.Rejects)
	var dropped []manifest.Partial
	for _, p := range m.Partials {
		if !i.broken[p.Path] {
			continue
		}
		why, err := in.remake(ctx, i, p)
		if err != nil {
			return err
		}
		if why != "" {
			i.Repaired = append(i.Repaired, i.root+p.Path+": dropped, "+why)
			dropped = append(dropped, p)
		}
	}
	if err := in.repairParts(ctx, i); err != nil {
		return err
	}
	renamed := false
	for n := range files {
		changed, err := in.reread(ctx, i, &files[n], &rejects[indexOf(rejects, files[n].Range())])
		if err != nil {
			return err
		}
		renamed = renamed || changed
	}
	if len(dropped) > 0 || renamed {
		if err := in.commitRepair(ctx, i, files, rejects, dropped); err != nil {
			return err
		}
	}
	return in.removeOrphans(ctx, i, now)
}

// commitRepair names files as they are now, in place of those of the same ranges, and drops partials. What was committed
// meanwhile stays.
func (in *Input) commitRepair(ctx context.Context, i *inspection, files, rejects []manifest.File, dropped []manifest.Partial) error {
	replace := func(in, by []manifest.File) {
		for _, f := range by {
			if n := indexOf(in, f.Range()); n >= 0 {
				in[n] = f
			}
		}
	}
	return in.amend(ctx, i.root, "", 0, func(m *manifest.Manifest) (*manifest.Manifest, error) {
		if m == nil {
			return nil, nil
		}
		next := after(m, "")
		replace(next.Files, files)
		replace(next.Rejects, rejects)
		next.Partials = slices.DeleteFunc(next.Partials, func(p manifest.Partial) bool {
			return slices.ContainsFunc(dropped, func(d manifest.Partial) bool { return samePartial(d, p) })
		})
		i.Manifest = next.Sequence
		return next, nil
	})
}

// whole notes that a file was made again.
func (i *inspection) whole(path, from string) {
	i.Repaired = append(i.Repaired, i.root+path+": made again from "+from)
	i.Files++
}

// plural is the noun for that many.
func plural(n int, noun string) string {
	if n == 1 {
		return noun
	}
	return noun + "s"
}

func indexOf(files []manifest.File, r schemas.Range) int {
	return slices.IndexFunc(files, func(f manifest.File) bool { return f.Range() == r })
}

// repairParts makes damaged parts of folded partials again, or removes them: a question as of offsets within the fold reads
// the records then.
func (in *Input) repairParts(ctx context.Context, i *inspection) error {
	for _, p := range i.parts {
		if !i.broken[p.Path] {
			continue
		}
		why, err := in.remake(ctx, i, p)
		if err == nil && why != "" {
			i.Repaired = append(i.Repaired, i.root+p.Path+": removed, a question as of offsets within it reads the records")
			err = in.Store.Delete(ctx, i.root+p.Path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// remake makes a damaged partial again, from its data file or from the log; why says what stands in the way of it being as
// it was, empty if it is.
func (in *Input) remake(ctx context.Context, i *inspection, p manifest.Partial) (why string, err error) {
	eras, err := in.eras(ctx, i.manifest.Versions, in.Views)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(eras, func(e versions.Era) bool { return e.View.Definition == p.Definition && e.View.Name == p.View }) // its path has both
	if at < 0 {
		return "view " + p.View + " does not have its definition any more", nil
	}
	const anew = "the next cycle makes it anew"
	if p.Tier > 0 {
		return anew, nil
	}
	v, refs := eras[at].View, eras[at].References
	files := over(i.manifest.Files, p.Range())
	if !slices.ContainsFunc(files, func(f manifest.File) bool { return i.broken[f.Path] }) {
		err := in.fromFiles(ctx, i.root, Missing{v, p.Range(), files, refs}, func(_ *scratch, _ *kernel.Session, m *made) error {
			if m.Partials[0].CRC32C != p.CRC32C {
				return errOtherBytes
			}
			return in.put(ctx, i.root, m)
		})
		if err == nil {
			i.whole(p.Path, "its data "+plural(len(files), "file"))
			return "", nil
		}
		if !errors.Is(err, errOtherBytes) {
			return "", err
		}
	}
	if i.start[p.Partition] <= p.From && i.end[p.Partition] >= p.To {
		s, err := newScratch(in.Scratch)
		if err != nil {
			return "", err
		}
		defer s.close()
		m, err := in.with(refs).make(ctx, s, p.Range(), []*views.View{v})
		if err != nil {
			return "", err
		}
		if m.Partials[0].CRC32C == p.CRC32C {
			if err := in.Store.PutFile(ctx, i.root+p.Path, m.local[p.Path]); err != nil {
				return "", err
			}
			i.whole(p.Path, "the log")
			return "", nil
		}
	}
	return anew, nil
}

// reread makes a range's data and rejects files again if one is damaged. It says whether what the manifest must say of
// them has changed.
func (in *Input) reread(ctx context.Context, i *inspection, data, rejects *manifest.File) (changed bool, err error) {
	var paths []string
	for _, f := range []*manifest.File{data, rejects} {
		if i.broken[f.Path] {
			paths = append(paths, f.Path)
		}
	}
	if len(paths) == 0 {
		return false, nil
	}
	r := data.Range()
	lost := func(why string) {
		for _, path := range paths {
			i.Lost = append(i.Lost, i.root+path+": "+why)
		}
	}
	if start, end := i.start[r.Partition], i.end[r.Partition]; start > r.From || end < r.To {
		lost(fmt.Sprintf("Kafka has only [%d, %d) of partition %d", start, end, r.Partition))
		return false, nil
	}
	s, err := newScratch(in.Scratch)
	if err != nil {
		return false, err
	}
	defer s.close()
	m, err := in.make(ctx, s, r, nil)
	if err != nil {
		return false, err
	}
	if m.Data.Records != data.Records || m.Rejects.Records != rejects.Records {
		lost(fmt.Sprintf("the log now has %d records and %d rejects there, the manifest says %d and %d",
			m.Data.Records, m.Rejects.Records, data.Records, rejects.Records))
		return false, nil
	}
	for _, path := range paths {
		if err := in.Store.PutFile(ctx, i.root+path, m.local[path]); err != nil {
			return false, err
		}
		i.whole(path, "the log")
		old, made := data, &m.Data
		if path == rejects.Path {
			old, made = rejects, &m.Rejects
		}
		changed = changed || old.CRC32C != made.CRC32C
		*old = *made
	}
	return changed, nil
}

// removeOrphans removes those that are old and that no cycle can name.
func (in *Input) removeOrphans(ctx context.Context, i *inspection, now time.Time) error {
	kept := []string{}
	for _, name := range i.Orphans {
		remove := false
		if i.dead(strings.TrimPrefix(name, i.root)) {
			info, err := in.Store.Stat(ctx, name)
			if err != nil {
				return err
			}
			remove = now.Sub(info.Modified) > orphanAge
		}
		if !remove {
			kept = append(kept, name)
			continue
		}
		if err := in.Store.Delete(ctx, name); err != nil {
			return err
		}
		i.Removed = append(i.Removed, name)
	}
	i.Orphans = kept
	return nil
}

// dead says whether no cycle can name a path any more, by the manifest that was read before the files were listed.
func (i *inspection) dead(path string) bool {
	var r schemas.Range
	kind, rest, _ := strings.Cut(path, "/")
	name := rest
	if kind == "partials" {
		_, name, _ = strings.Cut(rest, "/")
	}
	if _, err := fmt.Sscanf(name, "%d/%020d-%020d.parquet", &r.Partition, &r.From, &r.To); err != nil || rangeName(r) != name {
		return true // no cycle writes such a name
	}
	if r.From >= i.manifest.Frontier[r.Partition] {
		return false
	}
	begins, ends := false, false
	for _, f := range i.manifest.Files {
		begins = begins || f.Partition == r.Partition && f.From == r.From
		ends = ends || f.Partition == r.Partition && f.To == r.To
	}
	return kind != "partials" || !begins || !ends
}
