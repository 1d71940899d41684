package powertest

import (
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
)

const envBeside = "GROUPCOMMIT_TEST_POWER_BESIDE" // the file that a second process writes

// other is the second process.
type other struct{ cmd *exec.Cmd }

// startBeside starts this program once more, on the same disk.
func startBeside(d disk.Disk, at string) (*other, error) {
	cmd := exec.Command(os.Args[0], os.Args[1:]...)
	cmd.Env = append(d.Env(), envBeside+"="+at)
	cmd.Stderr = os.Stderr
	return &other{cmd}, cmd.Start()
}

func (o *other) end() error {
	if err := o.cmd.Process.Kill(); err != nil {
		return err
	}
	if err := o.cmd.Wait(); o.cmd.ProcessState.Exited() {
		return fmt.Errorf("the second process: %w", err) // it does not end by itself
	}
	return nil
}

// beside writes at FULL until it is killed, and restarts the WAL now and then.
func beside(at string) int {
	db, err := openPlain(at)
	for i := 0; err == nil; i++ {
		time.Sleep(time.Millisecond) // or else the writers of the test would hardly find the database free
		if _, err = db.Exec("INSERT INTO beside VALUES (?)", i); err == nil && i%20 == 0 {
			_, err = db.Exec("DELETE FROM beside; PRAGMA wal_checkpoint(RESTART)")
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}
