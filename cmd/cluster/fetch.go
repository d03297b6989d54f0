package cluster

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/millrace/millrace/pipelines/flock"
	"github.com/millrace/millrace/schemas"
)

// The engines' names, which are also those of their poms.
const (
	Kafka = "kafka"
	Flink = "flink"
	Spark = "spark"
)

// Engines names all that can be fetched and started.
var Engines = []string{Kafka, Flink, Spark}

// sources name the class that is compiled for an engine, in java/.
var sources = map[string]string{Flink: "ServerFactory.java", Spark: "ServerFactory.java", FlinkSQL: "FlinkSQL.java", SparkSQL: "SparkSQL.java"}

//go:embed poms java
var embedded embed.FS

// CacheEnv is the environment variable that names another cache folder.
const CacheEnv = "MILLRACE_CACHE"

// Note is told what is being done, a line at a time; a nil Note is told nothing.
type Note func(format string, args ...any)

func (n Note) say(format string, args ...any) {
	if n != nil {
		n(format, args...)
	}
}

// cacheDir is where the engines lie, made if it is not there.
func cacheDir() (string, error) {
	dir := os.Getenv(CacheEnv)
	if dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return "", &schemas.Problem{Kind: schemas.Environment, Message: "this user has no cache folder", Err: err, Hint: "name one in " + CacheEnv}
		}
		dir = filepath.Join(base, "millrace")
	}
	dir, err := filepath.Abs(filepath.Join(dir, "engines"))
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return "", &schemas.Problem{Kind: schemas.Environment, Message: "the cache folder cannot be made", Err: err, Hint: "name another one in " + CacheEnv}
	}
	return dir, nil
}

// Fetch sees to it that the jars of the engines are in the cache, and gives each one's folder: libs/ holds the jars. An
// engine is there whole or not at all; two that fetch at once wait for each other. What is there is never fetched again:
// a folder's name carries a hash of what it was made from.
func Fetch(ctx context.Context, engines []string, note Note) (map[string]string, error) {
	cache, err := cacheDir()
	if err != nil {
		return nil, err
	}
	dirs := map[string]string{}
	for _, engine := range engines {
		if dirs[engine], err = fetch(ctx, cache, engine, note); err != nil {
			return nil, err
		}
	}
	return dirs, nil
}

// tools are what starting an engine takes: the JVM's program, and the engine's folder in the cache.
func tools(ctx context.Context, engine string, note Note) (program, dir string, err error) {
	dirs, err := Fetch(ctx, []string{engine}, note)
	if err != nil {
		return "", "", err
	}
	program, err = java(ctx, "java")
	return program, dirs[engine], err
}

func fetch(ctx context.Context, cache, engine string, note Note) (string, error) {
	pom, err := embedded.ReadFile("poms/" + engine + ".xml")
	if errors.Is(err, fs.ErrNotExist) {
		return "", &schemas.Problem{Kind: schemas.Usage, Message: fmt.Sprintf("there is no engine %q", engine), Hint: "the engines are " + strings.Join(Engines, ", ")}
	}
	if err != nil {
		return "", err
	}
	var source []byte
	if name := sources[engine]; name != "" {
		if source, err = embedded.ReadFile("java/" + name); err != nil {
			return "", err
		}
	}
	sum := sha256.Sum256(slices.Concat(pom, source, []byte(ownJar)))
	dir, err := once(ctx, cache, fmt.Sprintf("%s-%x", engine, sum[:6]), note, func(dir string) error {
		if _, err := java(ctx, "java"); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "pom.xml"), pom, 0o644); err != nil {
			return err
		}
		if err := maven(ctx, engine, dir, note); err != nil {
			return err
		}
		if source == nil {
			return nil
		}
		return compile(ctx, dir, sources[engine], source)
	})
	if err == nil && source != nil && !exists(ownClasses(dir)) { // without it a job server would listen on every interface
		err = &schemas.Problem{Kind: schemas.Environment, Message: dir + " is not whole: " + ownJar + " is missing", Hint: "remove the folder, and it is fetched again"}
	}
	return dir, err
}

// once gives the folder NAME of the cache, which make fills if it is not there yet.
func once(ctx context.Context, cache, name string, note Note, make func(dir string) error) (string, error) {
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := lock(ctx, filepath.Join(cache, name+".lock"), func() { note.say("another process is fetching %s: waiting for it", name) })
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	part := dir + ".part"
	if err := errors.Join(os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil {
		return "", &schemas.Problem{Kind: schemas.Environment, Message: "the cache cannot be written", Err: err, Hint: "name another folder in " + CacheEnv}
	}
	if err := make(part); err != nil {
		return "", errors.Join(err, os.RemoveAll(part))
	}
	return dir, os.Rename(part, dir)
}

// lock takes the lock that a file stands for; waiting is called if another has it.
func lock(ctx context.Context, path string, waiting func()) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "the lock cannot be made", Err: err, Hint: "give this user the right to write there"}
	}
	for said := false; ; {
		err := flock.Try(f)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, flock.ErrHeld) {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !said {
			waiting()
			said = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// maven fetches what dir/pom.xml names into dir/libs.
func maven(ctx context.Context, engine, dir string, note Note) error {
	path, err := exec.LookPath("mvn")
	if err != nil {
		return &schemas.Problem{Kind: schemas.Environment, Message: "mvn is not here, and " + engine + "'s jars come through it", Err: err, Hint: "install Maven 3.6 or newer, such as the package maven"}
	}
	cmd := exec.CommandContext(ctx, path, "-B", "-f", filepath.Join(dir, "pom.xml"), "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory="+filepath.Join(dir, "libs"))
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	note.say("%s: Maven looks for its jars", engine)
	var complaint bytes.Buffer
	fetched, copied, lastSaid := 0, 0, time.Now()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		switch line := lines.Text(); {
		case strings.Contains(line, "Downloaded") && strings.Contains(line, ".jar"):
			fetched++
		case strings.Contains(line, "Copying"):
			copied++
		case strings.HasPrefix(line, "[ERROR]") && complaint.Len() < 600:
			fmt.Fprintln(&complaint, strings.TrimSpace(strings.TrimPrefix(line, "[ERROR]")))
		}
		if time.Since(lastSaid) > 3*time.Second {
			note.say("%s: %d jars fetched, %d in place", engine, fetched, copied)
			lastSaid = time.Now()
		}
	}
	err = cmd.Wait()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		first, _, _ := strings.Cut(complaint.String(), "\n")
		return &schemas.Problem{Kind: schemas.Environment, Message: "Maven could not fetch " + engine, Err: fmt.Errorf("%w: %s", err, first),
			Hint: "see to it that `mvn` reaches its repositories (the network, a proxy or a mirror in its settings.xml), then do this again: it goes on where it stopped"}
	}
	if copied == 0 {
		return &schemas.Problem{Kind: schemas.Environment, Message: "Maven fetched nothing for " + engine, Hint: "run `" + strings.Join(cmd.Args, " ") + "` to see why"}
	}
	note.say("%s: %d jars in the cache", engine, copied)
	return nil
}

// compile makes the classes that go before the jars.
func compile(ctx context.Context, dir, name string, source []byte) error {
	javac, err := java(ctx, "javac")
	if err != nil {
		return err
	}
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, source, 0o644); err != nil {
		return err
	}
	classes := filepath.Join(dir, "classes")
	out, err := exec.CommandContext(ctx, javac, "-nowarn", "-proc:none", "-cp", filepath.Join(dir, "libs", "*"), "-d", classes, file).CombinedOutput()
	if err != nil {
		return fmt.Errorf("compile %s: %w: %s", filepath.Base(file), err, out)
	}
	jar, err := java(ctx, "jar")
	if err != nil {
		return err
	}
	if out, err := exec.CommandContext(ctx, jar, "--create", "--file", ownClasses(dir), "-C", classes, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("pack %s: %w: %s", filepath.Base(file), err, out)
	}
	return os.RemoveAll(classes)
}

// classPath is the class path of an engine in the cache.
func classPath(dir string) string {
	libs := filepath.Join(dir, "libs", "*")
	if own := ownClasses(dir); exists(own) {
		return own + string(os.PathListSeparator) + libs
	}
	return libs
}

// ownJar holds the classes that are compiled for an engine.
const ownJar = "own.jar"

// ownClasses are the classes that go before an engine's jars, if it has any.
func ownClasses(dir string) string { return filepath.Join(dir, ownJar) }

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
