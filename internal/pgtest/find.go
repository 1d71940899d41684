package pgtest

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// ErrNotInstalled says that no PostgreSQL server was found on this machine. The errors that match it, by errors.Is,
// say what to install.
var ErrNotInstalled = errors.New("pgtest: no PostgreSQL server found")

// programs are the programs that a folder must hold.
var programs = []string{"initdb", "postgres", "pg_ctl"}

// usualFolders are looked at when neither PATH nor pg_config knows of a server; within one pattern the newest version
// comes first.
var usualFolders = []string{
	"/usr/lib/postgresql/*/bin", // Debian, Ubuntu
	"/usr/pgsql-*/bin",          // packages of postgresql.org for Fedora, RHEL
	"/usr/libexec/postgresql*",  // Alpine
	"/usr/local/pgsql/bin",      // built from source
	"/opt/homebrew/opt/postgresql*/bin",
	"/usr/local/opt/postgresql*/bin",
	"/home/linuxbrew/.linuxbrew/opt/postgresql*/bin",
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// Find returns the folder that holds PostgreSQL's server programs: the one on PATH, else the one that pg_config names,
// else the newest in the usual folders. Its error matches ErrNotInstalled.
func Find() (string, error) {
	return find(usualFolders)
}

func find(patterns []string) (string, error) {
	if dir, ok := onPath(); ok {
		return dir, nil
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		if dir := strings.TrimSpace(string(out)); complete(dir) {
			return dir, nil
		}
	}
	for _, pattern := range patterns {
		dirs, _ := filepath.Glob(pattern) // the only error is a malformed pattern
		slices.SortFunc(dirs, func(a, b string) int { return cmp.Compare(version(b), version(a)) })
		if i := slices.IndexFunc(dirs, complete); i >= 0 {
			return dirs[i], nil
		}
	}
	return "", fmt.Errorf("%w (looked for %s on PATH, by pg_config --bindir and in the usual folders): install it with "+
		"apt-get install postgresql (Debian, Ubuntu), dnf install postgresql-server (Fedora, RHEL), "+
		"apk add postgresql (Alpine) or brew install postgresql (macOS), or name a running server in %s",
		ErrNotInstalled, strings.Join(programs, ", "), EnvServer)
}

// onPath follows links, because a PATH often holds links to some of the programs and the folder all of them.
func onPath() (string, bool) {
	initdb, err := exec.LookPath("initdb")
	if err != nil {
		return "", false
	}
	if target, err := filepath.EvalSymlinks(initdb); err == nil && complete(filepath.Dir(target)) {
		return filepath.Dir(target), true
	}
	return filepath.Dir(initdb), complete(filepath.Dir(initdb))
}

func complete(dir string) bool {
	return dir != "" && !slices.ContainsFunc(programs, func(name string) bool {
		info, err := os.Stat(filepath.Join(dir, name))
		return err != nil || info.IsDir()
	})
}

var number = regexp.MustCompile(`\d+(\.\d+)?`)

// version is the last number in a path, or 0.
func version(path string) float64 {
	all := number.FindAllString(path, -1)
	if len(all) == 0 {
		return 0
	}
	v, _ := strconv.ParseFloat(all[len(all)-1], 64)
	return v
}
