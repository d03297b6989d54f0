package bench

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
)

// Options say what is measured and how often.
type Options struct {
	Names   []string
	Repeat  int      // runs of each side, 3 or more to mean something
	Events  int      // of one run on the events of the ad topic
	Flights int      // in the batch view of merged_query
	File    string   // Parquet file with the flights; empty: those of testdata, again and again with later dates
	Groups  int      // of the view with many: a user each, who comes twice
	Tail    int      // raw records above the frontier of merged_query
	Dir     string   // scratch; empty: a temporary folder
	Command []string // runs Child in a process: the program and its arguments
	Note    func(format string, args ...any)
	Profile string // folder for a CPU profile of each measured run; empty: none
}

// Report is what Run measured.
type Report struct {
	Machine string `json:"machine"`
	Repeat  int    `json:"repeat"`
	Rows    []Row  `json:"rows"`
}

// Run measures the rows. Errors: a side that fails, or two sides of a row that come to different results.
func Run(ctx context.Context, o Options) (*Report, error) {
	chosen, err := choose(o.Names)
	if err != nil {
		return nil, err
	}
	w, err := newWorld(ctx, o)
	if err != nil {
		return nil, err
	}
	defer w.close()
	r := &Report{Machine: machine(), Repeat: o.Repeat, Rows: []Row{}}
	for _, p := range chosen {
		if p.setup != nil {
			o.Note("%s: making its data", p.Name)
			if err := p.setup(w, ctx); err != nil {
				return nil, fmt.Errorf("bench %s: %w", p.Name, err)
			}
		}
		row, err := p.measure(ctx, w)
		if err != nil {
			return nil, fmt.Errorf("bench %s: %w", p.Name, err)
		}
		r.Rows = append(r.Rows, *row)
	}
	return r, nil
}

// measure alternates the two sides of a row.
func (p *plan) measure(ctx context.Context, w *world) (*Row, error) {
	var sides [2][]*Sample
	for i := range w.o.Repeat {
		for side, work := range []string{p.measured, p.ceiling} {
			job := w.job(work, i)
			if p.each != nil {
				if err := p.each(ctx, w, &job); err != nil {
					return nil, err
				}
			}
			if side == 0 && w.o.Profile != "" {
				job.Profile = fmt.Sprintf("%s/%s.%d.pprof", w.o.Profile, p.Name, i)
			}
			s, err := w.run(ctx, job)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", work, err)
			}
			w.o.Note("%s: run %d, %s: %s %s, %.2f CPU-seconds", p.Name, i+1, work, human(p.rate(s)), p.Unit, s.CPUSeconds)
			sides[side] = append(sides[side], s)
		}
		if m, c := sides[0][i], sides[1][i]; !p.unlike && (m.Check != c.Check || m.Events != c.Events) {
			return nil, fmt.Errorf("run %d: %s came to %d over %d events, %s to %d over %d", i+1, p.measured, m.Check, m.Events, p.ceiling, c.Check, c.Events)
		}
	}
	row := p.Row
	row.Rate, row.Ceiling = median(sides[0], p.rate), median(sides[1], p.rate)
	row.Ratio = row.Rate / row.Ceiling
	row.CPUSeconds = median(sides[0], func(s *Sample) float64 { return s.CPUSeconds })
	row.MaxRSS = int64(median(sides[0], func(s *Sample) float64 { return float64(s.MaxRSS) }))
	for i, part := range sides[0][0].Parts {
		of := func(s *Sample) float64 { return s.Parts[i].CPUSeconds }
		own := median(sides[0], of)
		row.Parts = append(row.Parts, Part{Name: part.Name, Ratio: median(sides[1], of) / own, CPUSeconds: own})
	}
	return &row, nil
}

// rate is what the row compares.
func (p *plan) rate(s *Sample) float64 {
	if p.wall {
		return float64(s.Events) / s.Seconds
	}
	return s.rate()
}

func median(samples []*Sample, of func(*Sample) float64) float64 {
	var values []float64
	for _, s := range samples {
		values = append(values, of(s))
	}
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}

// machine names the processor, as far as the system tells.
func machine() string {
	text, _ := os.ReadFile("/proc/cpuinfo") // not there on other systems: the name stays away
	model := ""
	for line := range strings.Lines(string(text)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			model = ", " + strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%s/%s, %d processors%s", runtime.GOOS, runtime.GOARCH, runtime.NumCPU(), model)
}

// human writes a rate with three digits or so.
func human(rate float64) string {
	switch {
	case rate >= 1e6:
		return fmt.Sprintf("%.2f M", rate/1e6)
	case rate >= 1e4:
		return fmt.Sprintf("%.0f k", rate/1e3)
	}
	return fmt.Sprintf("%.3g", rate)
}

// Human is a row's rates as a person reads them.
func (r Row) Human() (rate, ceiling string) { return human(r.Rate), human(r.Ceiling) }
