// Package powertest looks for acknowledged changes that a power failure would lose. It is for tests:
//
//	func TestWhatIsAcknowledgedSurvivesAPowerFailure(t *testing.T) {
//		report := powertest.Run(t, powertest.Load{Open: …, Ways: …})
//		…
//	}
//
//	go test ./sqlite3 -run Power               half a second or so each
//	go test ./sqlite3 -run Power -power 60s    as long as that each
package powertest

import (
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/groupcommit/groupcommit/internal/bounded"
	"github.com/groupcommit/groupcommit/internal/disk"
)

var budget = flag.Duration("power", time.Second/2, "for how long each power test writes")

// A Load is a program that writes one SQLite file from many goroutines, on a disk that remembers what was synced (package
// disk). Another connection makes checkpoints of every kind all the while. Images of what a power failure would leave are
// taken at random times, of three kinds (see imager). Each is opened by the plain driver: it must be whole, and have every
// insert and lack every row whose deletion was acknowledged before the image was begun.
//
// It all happens in a child process, which is this test once more.
type Load struct {
	// Open opens the file. The driver and its options are what is tested. The database is in WAL mode.
	Open func(file string) (*sql.DB, error)
	// Ways are those of changing rows; each has goroutines of its own.
	Ways []Way
	// Go is told what stands in for the syncs of Go code, which the disk cannot see; nil where there are none.
	Go func(fdatasync func(*os.File) error)
	// Beside says that the plain driver writes the file in another process as well.
	Beside bool
	// Loses says that something is to be found: the load goes on until it is, for a minute at most.
	Loses bool
	// Still says that no checkpoint is made but by what is tested.
	Still bool
}

// A Report is what the images said. Its fields keep their names in the JSON between the processes.
type Report struct {
	Images       int
	Acknowledged int    // changes, by the end
	Missing      int    // acknowledged changes that an image lacked; each counts in every image
	Corrupt      int    // images that were not whole
	First        string // what was wrong with the first image that had something wrong
}

func (r Report) String() string {
	text := fmt.Sprintf("%d images, %d changes acknowledged, %d times one was missing, %d images corrupt", r.Images, r.Acknowledged, r.Missing, r.Corrupt)
	if r.First != "" {
		text += "; the first: " + r.First
	}
	return text
}

const (
	// patience is how much longer than its budget a child may take.
	patience = 2 * time.Minute

	envReport = "GROUPCOMMIT_TEST_POWER_REPORT" // the file for a child's report
	file      = "power.db"
)

// Run runs a load. Where there can be no such disk, the test is skipped.
func Run(t *testing.T, l Load) Report {
	t.Helper()
	d, child := disk.Current()
	if child {
		os.Exit(l.child(d))
	}
	folder, err := os.MkdirTemp(disk.Memory(), "groupcommit-power-")
	check(t, err)
	t.Cleanup(func() { check(t, os.RemoveAll(folder)) })
	folder, err = filepath.EvalSymlinks(folder)
	check(t, err)
	shim, err := disk.Build(folder)
	if errors.Is(err, disk.ErrUnsupported) {
		t.Skipf("%v", err)
	}
	check(t, err)
	d = disk.Disk{Folder: filepath.Join(folder, "disk"), Shadow: filepath.Join(folder, "shadow"), Shim: shim, Takes: 500 * time.Microsecond}
	check(t, errors.Join(os.Mkdir(d.Folder, 0o700), os.Mkdir(d.Shadow, 0o700)))
	report := filepath.Join(folder, "report")
	cmd := again(t, d, envReport+"="+report)
	bounded.Release(t) // its time is the child's
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("the child: %v\n%s", err, said)
	}
	var r Report
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("the child has written no report: %v\n%s", err, said)
	}
	check(t, json.Unmarshal(text, &r))
	t.Log(r)
	return r
}

// again is this test in a process of its own on the disk.
func again(t *testing.T, d disk.Disk, env string) *exec.Cmd {
	var names []string
	for name := range strings.SplitSeq(t.Name(), "/") {
		names = append(names, "^"+regexp.QuoteMeta(name)+"$")
	}
	cmd := exec.Command(os.Args[0], "-test.run="+strings.Join(names, "/"), "-test.timeout="+(*budget+patience).String(), "-power="+budget.String())
	cmd.Env = append(d.Env(), env)
	return cmd
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// child runs the load and writes the report. It returns the exit code.
func (l Load) child(d disk.Disk) int {
	if to := os.Getenv(envBeside); to != "" {
		return beside(to)
	}
	r, err := l.run(d)
	if err == nil {
		var text []byte
		if text, err = json.Marshal(r); err == nil {
			err = os.WriteFile(os.Getenv(envReport), text, 0o600)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
