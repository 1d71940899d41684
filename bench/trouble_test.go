package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// nobody is the address of a server that is not there.
const nobody = "postgres://me:s3cret@127.0.0.1:1/app"

func TestAServerThatIsNotReachedIsOneLineBeforeAnythingElse(t *testing.T) {
	all := [][]string{{"--driver", "pgx"}}
	for name := range modes {
		all = append(all, []string{name})
	}
	for _, args := range all {
		code, out, errs := runProgram(t, append(args, "--dsn", nobody)...)
		assert.Equal(t, exitUsage, code, args)
		assert.Empty(t, out, args)
		assert.Contains(t, errs, "the server of --dsn is not reached: ", args)
		assert.Contains(t, errs, "connection refused", args)
		assert.NotContains(t, errs, "s3cret")
		assert.Equal(t, 1, strings.Count(errs, "\n"), "one line: %s", errs)
	}
}

// TestAFullDiskIsOneLineAndNothingIsLeft has a disk of its own, of one megabyte in memory.
func TestAFullDiskIsOneLineAndNothingIsLeft(t *testing.T) {
	if err := exec.Command("unshare", "-rm", "true").Run(); err != nil {
		t.Skipf("unshare: %v", err)
	}
	self, err := os.Executable()
	require.NoError(t, err)
	for _, args := range [][]string{
		{"--time", "1h", "--synchronous", "off", "--batch"},
		{"compare", "--driver", "sqlite3", "--time", "1h", "--rounds", "1", "--only", "normal, insert, 64 callers"},
	} {
		var out, errs bytes.Buffer
		script := `mount -t tmpfs -o size=1m tmpfs "$TMPDIR" || exit 77; "$@"; code=$?; ls -A "$TMPDIR" >&2; exit $code`
		cmd := exec.Command("unshare", append([]string{"-rm", "sh", "-c", script, "sh", self}, args...)...)
		cmd.Env = append(os.Environ(), "BENCH_AS_PROGRAM=1", "TMPDIR="+t.TempDir())
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run()
		if cmd.ProcessState.ExitCode() == 77 {
			t.Skipf("%s", &errs)
		}
		assert.Equal(t, exitUsage, cmd.ProcessState.ExitCode(), args)
		assert.Regexp(t, `^bench: [^\n]*(disk is full|no space left on device|full)[^\n]*\n$`, errs.String(), "one line, and nothing is left")
	}
}

func TestAFullDiskBelowAFileIsOneLine(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skipf("%v", err)
	}
	code, _, errs := runProgram(t, "--users", "5", "--json", "/dev/full")
	assert.Equal(t, exitUsage, code)
	assert.Equal(t, "bench: write /dev/full: no space left on device\n", errs)
}

func TestAFullDiskIsKnownByWhatTheDriverSays(t *testing.T) {
	for _, err := range []error{syscall.ENOSPC, sqlite3.Error{Code: sqlite3.ErrFull}, &pgconn.PgError{Code: "53100"}} {
		assert.True(t, full(fmt.Errorf("value 5: %w", err)))
	}
	assert.False(t, full(sqlite3.Error{Code: sqlite3.ErrBusy}))
}

func TestSeveralErrorsAreOneLine(t *testing.T) {
	assert.Equal(t, "a; b: c", oneLine(errors.Join(errors.New("a"), errors.New("b:\n\tc"), errors.New("a"))))
}
