package main

import (
	"fmt"
	"io"
	"os"
	"time"
)

// bar is one line on a terminal that is written over and over.
type bar struct {
	w       io.Writer
	written bool
}

// bar is nil where there is no terminal to draw on; a nil bar draws nothing.
func (a *app) bar() *bar {
	f, ok := a.stderr.(*os.File)
	if !ok || a.quiet {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return nil
	}
	return &bar{w: f}
}

// draw shows what is done, the share of all if it is known, the rate and the time left.
func (b *bar) draw(records, done, total int64, rate float64, left time.Duration) {
	if b == nil {
		return
	}
	b.written = true
	fmt.Fprintf(b.w, "\r\x1b[K%s records, %s/s", thousands(records), thousands(int64(rate)))
	if total > 0 {
		const width = 30
		share := min(1, float64(done)/float64(total))
		full := int(share * width)
		fmt.Fprintf(b.w, "  [%-*s] %3.0f %%", width, fmt.Sprintf("%.*s", full, "=============================="), share*100)
		if left > 0 {
			fmt.Fprintf(b.w, "  %s left", left.Round(time.Second))
		}
	}
}

// clear takes the line away.
func (b *bar) clear() {
	if b != nil && b.written {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
