package sqlite3_test

import (
	"database/sql"
	"fmt"
	"os"
	osexec "os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/sqlite3"
	mattn "github.com/mattn/go-sqlite3"
	"github.com/stretchr/testify/require"
)

// failingSync is a library that is loaded before libc. It counts down the number in a file, and fails the sync at which that has
// come to 0.
const failingSync = `#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>
static int fails(void) {
	char text[16] = {0}, *path = getenv("GROUPCOMMIT_TEST_SYNC");
	int fd = path ? open(path, O_RDWR) : -1;
	if (fd < 0) return 0;
	int left = read(fd, text, 15) > 0 ? atoi(text) : 0;
	if (left > 0) {
		int n = sprintf(text, "%d", left - 1);
		ftruncate(fd, 0);
		pwrite(fd, text, n, 0);
	}
	close(fd);
	if (left != 1) return 0;
	errno = EIO;
	return 1;
}
int fdatasync(int fd) { return fails() ? -1 : syscall(SYS_fdatasync, fd); }
int fsync(int fd) { return fails() ? -1 : syscall(SYS_fsync, fd); }
`

const syncEnv = "GROUPCOMMIT_TEST_SYNC"

// TestACommitThatFails runs TestFailingSyncs in a process whose syncs can fail.
func TestACommitThatFails(t *testing.T) {
	gcc, err := osexec.LookPath("gcc")
	if err != nil || runtime.GOOS != "linux" {
		t.Skip("Linux and gcc are needed to fail a sync")
	}
	dir := t.TempDir()
	source, library := filepath.Join(dir, "sync.c"), filepath.Join(dir, "sync.so")
	require.NoError(t, os.WriteFile(source, []byte(failingSync), 0o600))
	out, err := osexec.Command(gcc, "-shared", "-fPIC", "-w", "-o", library, source).CombinedOutput()
	require.NoError(t, err, string(out))
	cmd := osexec.Command(os.Args[0], "-test.run=^TestFailingSyncs$", "-test.v")
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+library, syncEnv+"="+filepath.Join(dir, "left"))
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestFailingSyncs")
}

// TestFailingSyncs fails each sync of a commit, one after the other, in each journal mode. It does nothing in an ordinary run.
func TestFailingSyncs(t *testing.T) {
	left := os.Getenv(syncEnv)
	if left == "" {
		t.Skip("it is for the process that TestACommitThatFails starts")
	}
	arm := func(n int) { require.NoError(t, os.WriteFile(left, []byte(strconv.Itoa(n)), 0o600)) }
	disarmed := func() bool {
		text, err := os.ReadFile(left)
		require.NoError(t, err)
		arm(0)
		return string(text) == "0"
	}
	arm(0)
	for _, c := range []struct {
		params  string
		unknown bool // some sync is at the point of no return
	}{
		{"_journal=WAL&_sync=FULL", false},
		{"_journal=WAL&_sync=EXTRA", false},
		{"_journal=DELETE&_sync=NORMAL", false},
		{"_journal=DELETE&_sync=FULL", false},
		{"_journal=DELETE&_sync=EXTRA", true},
		{"_journal=TRUNCATE&_sync=NORMAL", true}, // none is, but the code does not tell
		{"_journal=TRUNCATE&_sync=FULL", true},
		{"_journal=PERSIST&_sync=FULL", true},
		{"_journal=PERSIST&_sync=EXTRA", true},
		{"_journal=MEMORY&_sync=FULL", true}, // the same
	} {
		t.Run(c.params, func(t *testing.T) {
			dsn := "file:" + filepath.Join(t.TempDir(), "x") + "?" + c.params
			db := ours(t, dsn+"&groupcommit_promises=on", "CREATE TABLE a (k, v)")
			k := 0
			// once executes three calls as a group, the nth sync of which fails, and returns their errors.
			once := func(n int, call func(k int) *groupcommit.Promise) (first int, errs []error, failed bool) {
				release := turn(t, db)
				first = k
				var ps []*groupcommit.Promise
				for ; k < first+3; k++ {
					ps = append(ps, call(k))
				}
				awaitQueued(t, db, 3)
				arm(n)
				release()
				for _, p := range ps {
					_, err := p.Await(background)
					errs = append(errs, err)
				}
				return first, errs, disarmed()
			}
			rows := func(k int) int { return count(t, db, "SELECT count(*) FROM a WHERE k = ?", k) }

			t.Run("WithoutIDs", func(t *testing.T) {
				unknown := 0
				for n, failed := 1, true; failed; n++ {
					var first int
					var errs []error
					first, errs, failed = once(n, func(k int) *groupcommit.Promise { return groupcommit.Go(background, db, insertRow, k, "v") })
					for i, err := range errs {
						if err == nil {
							require.Equal(t, 1, rows(first+i), "sync %d, acknowledged", n)
							continue
						}
						require.ErrorAs(t, err, new(*groupcommit.OutcomeUnknownError), "sync %d", n)
						require.LessOrEqual(t, rows(first+i), 1, "sync %d", n)
						unknown++
					}
				}
				require.Equal(t, c.unknown, unknown > 0)
			})
			t.Run("WithIDs", func(t *testing.T) {
				for n, failed := 1, true; failed; n++ {
					var first int
					var errs []error
					first, errs, failed = once(n, func(k int) *groupcommit.Promise {
						return groupcommit.Go(withID(fmt.Sprint(k)), db, insertRow, k, "v")
					})
					for i, err := range errs {
						require.NoError(t, err, "sync %d", n)
						require.Equal(t, 1, rows(first+i), "sync %d", n)
					}
				}
			})
			t.Run("AloneWithAnID", func(t *testing.T) {
				for n, failed := 1, true; failed; n++ {
					k++
					arm(n)
					_, err := db.ExecContext(withID(fmt.Sprint(k)), insertRow, k, "v")
					failed = disarmed()
					if err != nil {
						require.Equal(t, mattn.ErrIoErr, code(t, err), "sync %d", n)
						require.Zero(t, rows(k), "sync %d", n)
						_, err = db.ExecContext(withID(fmt.Sprint(k)), insertRow, k, "v")
						require.NoError(t, err)
					}
					require.Equal(t, 1, rows(k), "sync %d", n)
				}
			})
		})
	}
}

// turn takes the writer's turn without writing anything.
func turn(t *testing.T, db *sql.DB) (release func()) {
	t.Helper()
	tx, err := db.Begin()
	require.NoError(t, err)
	return func() {
		t.Helper()
		require.NoError(t, tx.Rollback())
	}
}

// What a sync cannot be made to do.
func TestWhatACommitsErrorTells(t *testing.T) {
	ioerr := []mattn.ErrNoExtended{mattn.ErrIoErrRead, mattn.ErrIoErrWrite, mattn.ErrIoErrFsync, mattn.ErrIoErrDirFsync, mattn.ErrIoErrTruncate,
		mattn.ErrIoErrUnlock, mattn.ErrIoErrDelete, mattn.ErrIoErrDeleteNoent}
	undone := func(mode string, code mattn.ErrNo, extended mattn.ErrNoExtended) bool {
		return sqlite3.UndoneIn(mode, mattn.Error{Code: code, ExtendedCode: extended})
	}
	for mode, sure := range map[string]string{ // of ioerr
		"wal":      "yyyynnyy",
		"delete":   "yyynnnnn",
		"truncate": "yynnnnnn",
		"persist":  "ynnnnnnn",
		"memory":   "nnnnnnnn",
		"off":      "nnnnnnnn",
	} {
		for i, e := range ioerr {
			require.Equal(t, sure[i] == 'y', undone(mode, mattn.ErrIoErr, e), "%s, extended code %d", mode, e)
		}
		full := mattn.ErrNoExtended(mattn.ErrFull)
		require.Equal(t, mode == "wal" || mode == "delete" || mode == "truncate", undone(mode, mattn.ErrFull, full), mode)
	}
}
