package millrace_test

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// block is a fenced part of a page that a comment marks: `<!-- run -->` is typed, `<!-- output -->` is what the run block
// before it must print, line for line in this order, where … stands for anything.
type block struct {
	line   int // of its first line, from 1
	text   string
	output []string
}

var (
	marked = regexp.MustCompile(`(?m)^<!-- (run|output) -->\n+` + "```" + `\w*\n((?s:.*?))^` + "```$")
	mark   = regexp.MustCompile(`(?m)^@@ (\d+)\n`)
)

// blocks are the marked parts of a page.
func blocks(t *testing.T, page string) []block {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var out []block
	for _, m := range marked.FindAllSubmatchIndex(text, -1) {
		body := string(text[m[4]:m[5]])
		line := strings.Count(string(text[:m[4]]), "\n") + 1
		switch kind := string(text[m[2]:m[3]]); {
		case kind == "run":
			out = append(out, block{line: line, text: body})
		case len(out) == 0:
			t.Fatalf("%s:%d: an output before anything has run", page, line)
		default:
			last := &out[len(out)-1]
			last.output = append(last.output, strings.Split(strings.TrimSpace(body), "\n")...)
		}
	}
	if n := strings.Count(string(text), "<!-- run -->") + strings.Count(string(text), "<!-- output -->"); n != len(marked.FindAllIndex(text, -1)) {
		t.Errorf("%s: %d marks, %d fenced blocks after them", page, n, len(marked.FindAllIndex(text, -1)))
	}
	return out
}

// What the README's tour and the pages of docs/ say is typed and printed is just that: each page runs in an empty folder,
// word for word, but for the port 7171, which is another one here.
func TestDocs(t *testing.T) {
	millrace, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "README.md") {
		t.Run(page, func(t *testing.T) {
			t.Parallel()
			typed := blocks(t, page)
			if len(typed) == 0 {
				if page == "README.md" {
					t.Error("the tour is gone")
				}
				return
			}
			for _, tool := range []string{"bash", "curl"} {
				if _, err := exec.LookPath(tool); err != nil {
					t.Skipf("%s is not on this machine, and the page is typed into it: nothing of %s was run", tool, page)
				}
			}
			runPage(t, millrace, page, typed)
		})
	}
}

// runPage types a page's blocks into one shell.
func runPage(t *testing.T, millrace, page string, typed []block) {
	dir := t.TempDir()
	port := freePort(t)
	bin := filepath.Join(dir, "bin")
	work := filepath.Join(dir, "work")
	for _, d := range []string{bin, work} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// `init` writes the port 7171, which another test or program may have.
	wrapper := fmt.Sprintf("#!/bin/sh\n[ \"$1\" = init ] || exec %s \"$@\"\n%[1]s \"$@\" && sed -i.default s/127.0.0.1:7171/127.0.0.1:%s/ \"$2/millrace.yaml\" && rm \"$2/millrace.yaml.default\"\n", millrace, port)
	if err := os.WriteFile(filepath.Join(bin, "millrace"), []byte(wrapper), 0o755); err != nil {
		t.Fatal(err)
	}
	script := strings.Builder{}
	script.WriteString("set -euo pipefail\n")
	for _, b := range typed {
		fmt.Fprintf(&script, "echo '@@ %d'\n%s", b.line, strings.ReplaceAll(b.text, "7171", port))
	}
	script.WriteString("echo '@@ 0'\n[ -z \"$(jobs -rp)\" ] || { echo the page leaves something running; exit 1; }\n")

	out, err := os.Create(filepath.Join(dir, "output")) // a file: what runs in the background holds no pipe open
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("bash", "-c", script.String())
	cmd.Dir, cmd.Stdout, cmd.Stderr = work, out, out
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }) // its own group: what a failed page left running
	failed := cmd.Wait()
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	printed, last := sections(string(text))
	if failed != nil {
		t.Fatalf("%s:%d: %v\n%s", page, last, failed, printed[last])
	}
	for _, b := range typed {
		rest := strings.Split(strings.ReplaceAll(printed[b.line], port, "7171"), "\n")
		for _, want := range b.output {
			found := -1
			for i, line := range rest {
				if alike(want, line) {
					found = i
					break
				}
			}
			if found < 0 {
				t.Errorf("%s:%d: no line %q in this order in\n%s", page, b.line, want, printed[b.line])
				break
			}
			rest = rest[found+1:]
		}
	}
}

// sections are what each block printed, by its line, and the line of the last block that began.
func sections(text string) (map[int]string, int) {
	printed, last := map[int]string{}, 0
	marks := mark.FindAllStringSubmatchIndex(text, -1)
	for i, m := range marks {
		end := len(text)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		last, _ = strconv.Atoi(text[m[2]:m[3]])
		printed[last] = text[m[1]:end]
	}
	return printed, last
}

// alike says whether a line is as a page has it. How many spaces stand between words does not count: columns are as wide
// as what is in them.
func alike(want, line string) bool {
	parts := strings.Split(strings.Join(strings.Fields(want), " "), "…")
	for i := range parts {
		parts[i] = regexp.QuoteMeta(parts[i])
	}
	return regexp.MustCompile(`^` + strings.Join(parts, ".*") + `$`).MatchString(strings.Join(strings.Fields(line), " "))
}

// freePort is a port nobody listens at, below those that outgoing connections take: a page may stop and start there.
func freePort(t *testing.T) string {
	t.Helper()
	var err error
	for range 100 {
		port := strconv.Itoa(20_000 + rand.IntN(12_000))
		var l net.Listener
		if l, err = net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal(err)
	return ""
}

// The index names every page and every verb, and no link of a page leads nowhere.
func TestDocsIndex(t *testing.T) {
	index, err := os.ReadFile("docs/README.md")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		if name := filepath.Base(page); name != "README.md" && !strings.Contains(string(index), "]("+name) {
			t.Errorf("docs/README.md does not link %s", name)
		}
	}
	millrace, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	help, err := exec.Command(millrace, "--help").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(help), "Available Commands:\n")
	list, _, _ = strings.Cut(list, "\n\n")
	verbs := regexp.MustCompile(`(?m)^  (\w[\w-]*)`).FindAllStringSubmatch(list, -1)
	if len(verbs) < 10 {
		t.Fatalf("%d verbs in\n%s", len(verbs), help)
	}
	for _, verb := range verbs {
		if !strings.Contains(string(index), "`"+verb[1]+"`") {
			t.Errorf("docs/README.md does not name the verb %s", verb[1])
		}
	}
	link := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)
	for _, page := range append(pages, "README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := fs.Stat(os.DirFS("."), filepath.Join(filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s links %s, which is not there", page, m[1])
			}
		}
	}
}

// Each promise names tests that there are.
func TestGuaranteesAreHeld(t *testing.T) {
	text, err := os.ReadFile("docs/guarantees.md")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	if err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		code, err := os.ReadFile(path)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`).FindAllStringSubmatch(string(code), -1) {
			there[m[1]] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllStringSubmatch(string(text), -1)
	for _, m := range named {
		if !there[m[1]] {
			t.Errorf("docs/guarantees.md names %s, which is not there", m[1])
		}
	}
	if len(named) < 30 {
		t.Errorf("it names %d tests", len(named))
	}
}
