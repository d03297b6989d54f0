package cluster

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/millrace/millrace/schemas"
)

// The Python side of the Spark that poms/spark.xml names: its source distribution, by version and hash.
const (
	pysparkVersion = "3.5.0"
	pysparkHash    = "sha256:d41a9b76bd2aca370a6100d075c029e22ba44c5940927877e9435a3a9c566558"
)

// Python is a Python that can `import pyspark`: a program and what to add to its environment.
type Python struct {
	Path string
	Env  []string
}

// PySpark gives a Python that drives the Spark of the cache: Spark's own Python sources, fetched once by pip, on the jars
// that Fetch has. pandas and pyarrow are not among them.
func PySpark(ctx context.Context, note Note) (*Python, error) {
	dirs, err := Fetch(ctx, []string{Spark}, note)
	if err != nil {
		return nil, err
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		return nil, &schemas.Problem{Kind: schemas.Environment, Message: "python3 is not here", Err: err, Hint: "install Python 3.8 to 3.11 with pip"}
	}
	// An engine's folder has its hash in its name; the links below point to this very one.
	dir, err := once(ctx, filepath.Dir(dirs[Spark]), "py"+filepath.Base(dirs[Spark]), note, func(dir string) error {
		if err := pip(ctx, python, dir, note); err != nil {
			return err
		}
		return os.Symlink(filepath.Join(dirs[Spark], "libs"), filepath.Join(dir, "home", "jars"))
	})
	if err != nil {
		return nil, err
	}
	modules := filepath.Join(dir, "python") + string(os.PathListSeparator) + filepath.Join(dir, "python", "lib", "py4j.zip")
	// Executors have a SPARK_HOME of their own, so they are told where the modules are.
	arguments := fmt.Sprintf(`--conf "spark.executorEnv.PYTHONPATH=%s" --conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 --conf spark.ui.enabled=false pyspark-shell`, modules)
	return &Python{Path: python, Env: []string{"PYTHONPATH=" + modules, "SPARK_HOME=" + filepath.Join(dir, "home"), "PYSPARK_PYTHON=" + python,
		"SPARK_LOCAL_IP=127.0.0.1", "PYSPARK_SUBMIT_ARGS=" + arguments}}, nil
}

// pip fetches the source distribution and takes from it the Python sources, into dir/python, and the scripts that start a
// JVM, into dir/home/bin. The jars in it, which are nearly all of its size, are in the cache already.
func pip(ctx context.Context, python, dir string, note Note) error {
	note.say("pyspark: pip fetches its sources, 317 MB that become 10")
	wanted := filepath.Join(dir, "requirements.txt")
	if err := os.WriteFile(wanted, []byte("pyspark=="+pysparkVersion+" --hash="+pysparkHash+"\n"), 0o644); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "pyspark", "--require-hashes", "-r", wanted, "-d", dir)
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		return &schemas.Problem{Kind: schemas.Environment, Message: "pip could not fetch pyspark", Err: fmt.Errorf("%w: %s", err, lines[len(lines)-1]),
			Hint: "see to it that `" + python + " -m pip` is there and reaches its index, then do this again"}
	}
	archive := filepath.Join(dir, "pyspark-"+pysparkVersion+".tar.gz")
	return errors.Join(unpack(archive, dir), os.Remove(archive))
}

// unpack takes what is needed out of the source distribution.
func unpack(archive, dir string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	for files := tar.NewReader(unzipped); ; {
		file, err := files.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", filepath.Base(archive), err)
		}
		_, name, _ := strings.Cut(path.Clean(file.Name), "/")
		to := ""
		switch {
		case file.Typeflag != tar.TypeReg || !filepath.IsLocal(name):
		case strings.HasPrefix(name, "pyspark/"):
			to = filepath.Join(dir, "python", name)
		case strings.HasPrefix(name, "lib/py4j-"):
			to = filepath.Join(dir, "python", "lib", "py4j.zip")
		case strings.HasPrefix(name, "deps/bin/"):
			to = filepath.Join(dir, "home", "bin", path.Base(name))
		}
		if to == "" {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		w, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644|file.FileInfo().Mode()&0o111)
		if err != nil {
			return err
		}
		if _, err := io.Copy(w, files); err != nil {
			return errors.Join(err, w.Close())
		}
		if err := w.Close(); err != nil {
			return err
		}
	}
}
