package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/groupcommit/groupcommit/internal/disk"
)

// madeDisk is for the cases in which a sync takes a known time. A disk is below a whole program, so each of these cases is run by a
// child of this one.
type madeDisk struct {
	disk.Disk
	folder  string
	refused error // why there is none
}

func (d *madeDisk) remove() error {
	if d == nil || d.folder == "" {
		return nil
	}
	return os.RemoveAll(d.folder)
}

// onDisk measures a case on a made disk. Where there is none, the case is left out with a word.
func (r *compareRun) onDisk(ctx context.Context, c gridCase) error {
	if r.disk == nil {
		fmt.Fprintln(r.out, "\nMaking a disk in memory whose syncs take a known time; that compiles some lines of C.")
		r.disk = new(madeDisk)
		if r.disk.folder, r.disk.Disk, r.disk.refused = makeDisk(); r.disk.refused == nil {
			fmt.Fprintf(r.out, "It is %s, removed afterwards.\n", r.disk.folder)
		}
	}
	fmt.Fprintf(r.out, "\n%d of %d: %v\n", r.done, r.planned, c)
	if errors.Is(r.disk.refused, disk.ErrUnsupported) {
		fmt.Fprintf(r.out, "Left out: %v.\n", r.disk.refused)
		return nil
	} else if r.disk.refused != nil {
		return r.disk.refused
	}
	cells, err := r.child(ctx, c)
	if err != nil {
		return err
	}
	r.keep(c, cells, false)
	return nil
}

// child runs this program once more, on the disk, with one case.
func (r *compareRun) child(ctx context.Context, c gridCase) (cells []gridCell, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	d := r.disk.Disk
	d.Takes = c.sync
	cmd := exec.CommandContext(ctx, self, "compare", "--driver", c.driver, "--only", c.String(), "--time", r.time.String(), "--rounds", fmt.Sprint(r.rounds), "--json", "-")
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	cmd.Env = d.Env()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		lines := bytes.Split(bytes.TrimSpace(errs.Bytes()), []byte("\n"))
		return nil, fmt.Errorf("%w: %s", err, lines[len(lines)-1])
	}
	var got struct{ Cells []gridCell }
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		return nil, err
	}
	for i := range got.Cells {
		got.Cells[i].of = c
	}
	return got.Cells, nil
}
