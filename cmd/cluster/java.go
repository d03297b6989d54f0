package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/millrace/millrace/schemas"
)

// oldestJava is the first version that Kafka 4 runs on.
const oldestJava = 17

var javaVersion = regexp.MustCompile(`version "(?:1\.)?(\d+)`)

// java is the path of the JDK's program NAME: JAVA_HOME's if that is set, else the one on the path.
func java(ctx context.Context, name string) (string, error) {
	hint := fmt.Sprintf("install a JDK of version %d or newer, such as the package openjdk-%d-jdk-headless, or set JAVA_HOME", oldestJava, oldestJava)
	path, err := exec.LookPath(name)
	if home := os.Getenv("JAVA_HOME"); home != "" {
		path, err = exec.LookPath(filepath.Join(home, "bin", name))
	}
	if err != nil {
		return "", &schemas.Problem{Kind: schemas.Environment, Message: name + " is not here", Err: err, Hint: hint}
	}
	if name != "java" {
		return path, nil
	}
	out, err := exec.CommandContext(ctx, path, "-version").CombinedOutput()
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	m := javaVersion.FindSubmatch(out)
	if err != nil || m == nil {
		return "", &schemas.Problem{Kind: schemas.Environment, Message: path + " -version says " + strconv.Quote(strings.TrimSpace(string(out))), Err: err, Hint: hint}
	}
	if major, _ := strconv.Atoi(string(m[1])); major < oldestJava {
		return "", &schemas.Problem{Kind: schemas.Environment, Message: fmt.Sprintf("%s is Java %d, and Kafka 4 needs %d", path, major, oldestJava), Hint: hint}
	}
	return path, nil
}

// opened are the packages of the JDK that Flink and Spark reach into.
var opened = []string{"java.lang", "java.lang.invoke", "java.lang.reflect", "java.io", "java.net", "java.nio", "java.text", "java.time", "java.util", "java.util.concurrent",
	"java.util.concurrent.atomic", "java.util.concurrent.locks", "sun.nio.ch", "sun.nio.cs", "sun.security.action", "sun.util.calendar"}

// openings are the options for them.
func openings() []string {
	var out []string
	for _, p := range opened {
		out = append(out, "--add-opens=java.base/"+p+"=ALL-UNNAMED")
	}
	return out
}
