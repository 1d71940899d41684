package pgtest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// install makes a folder that looks as if it held a server.
func install(t *testing.T, dir string) string {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o755))
	for _, name := range programs {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o755))
	}
	return dir
}

func TestFindPrefersThePathAndFollowsLinks(t *testing.T) {
	root := t.TempDir()
	real := install(t, filepath.Join(root, "real"))
	install(t, filepath.Join(root, "usual", "17", "bin"))
	links := filepath.Join(root, "links")
	must(t, os.Mkdir(links, 0o755))
	must(t, os.Symlink(filepath.Join(real, "initdb"), filepath.Join(links, "initdb")))
	t.Setenv("PATH", links)
	want, err := filepath.EvalSymlinks(real)
	must(t, err)
	if got, err := find([]string{filepath.Join(root, "usual/*/bin")}); got != want || err != nil {
		t.Errorf("found %s, %v; want %s", got, err, want)
	}
}

func TestFindAsksPgConfig(t *testing.T) {
	root := t.TempDir()
	want := install(t, filepath.Join(root, "server"))
	must(t, os.WriteFile(filepath.Join(root, "pg_config"), []byte("#!/bin/sh\necho "+want+"\n"), 0o755))
	t.Setenv("PATH", root)
	if got, err := find(nil); got != want || err != nil {
		t.Errorf("found %s, %v; want %s", got, err, want)
	}
}

func TestFindTakesTheNewestThatIsComplete(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", "")
	install(t, filepath.Join(root, "9.6", "bin"))
	want := install(t, filepath.Join(root, "15", "bin"))
	must(t, os.Remove(filepath.Join(install(t, filepath.Join(root, "18", "bin")), "initdb"))) // only its client is installed
	if got, err := find([]string{filepath.Join(root, "nothing/*"), filepath.Join(root, "*/bin")}); got != want || err != nil {
		t.Errorf("found %s, %v; want %s", got, err, want)
	}
}

func TestFindSaysWhatToInstall(t *testing.T) {
	t.Setenv("PATH", "")
	_, err := find(nil)
	if !errors.Is(err, ErrNotInstalled) || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("error %v", err)
	}
}
