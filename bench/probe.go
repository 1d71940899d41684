package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

// A probe tells what a sync costs on it: the plain driver pays one for each of its commits, so every ratio beside it is made
// of that.
type probe struct {
	file *os.File
	took []time.Duration // by all syncs so far
}

// openProbe makes a file in a folder, for its syncs.
func openProbe(folder string) (*probe, error) {
	f, err := os.CreateTemp(folder, "sync-")
	if err != nil {
		return nil, err
	}
	return &probe{file: f}, nil
}

func (d *probe) close() error {
	d.file.Close()
	return os.Remove(d.file.Name())
}

const (
	syncedBytes  = 4096
	syncsATime   = 40
	syncFileSize = 4 << 20
)

// syncs writes and syncs some times, as a log does that grows and begins again. It returns the mean: a rate beside it is one,
// too, and has the slow syncs in it.
func (d *probe) syncs() (time.Duration, error) {
	var took []time.Duration
	page := make([]byte, syncedBytes)
	for range syncsATime {
		at := int64(len(d.took)+len(took)) * syncedBytes % syncFileSize
		start := time.Now()
		if _, err := d.file.WriteAt(page, at); err != nil {
			return 0, err
		}
		if err := d.file.Sync(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(start))
	}
	d.took = append(d.took, took...)
	var sum time.Duration
	for _, t := range took {
		sum += t
	}
	return sum / syncsATime, nil
}

// median is that of all syncs.
func (d *probe) median() time.Duration {
	if len(d.took) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(d.took))[len(d.took)/2]
}

// String is the price of a sync, from all that were made.
func (d *probe) String() string {
	if len(d.took) == 0 {
		return "not measured"
	}
	var us []float64
	for _, t := range d.took {
		us = append(us, float64(t)/1e3)
	}
	slices.Sort(us)
	return fmt.Sprintf("%s (%s to %s) for a write of 4 KB with its sync; median and quartiles of %s",
		micros(quartile(us, 2)), micros(quartile(us, 1)), micros(quartile(us, 3)), comma(len(us)))
}

// syncIn is what a sync takes in a folder; 0 where that is not known.
func syncIn(folder string) time.Duration {
	d, err := openProbe(folder)
	if err != nil {
		return 0
	}
	defer d.close()
	took, err := d.syncs()
	if err != nil {
		return 0
	}
	return took
}

// syncPrice measures the price of a sync in a folder, for the head of a measurement.
func syncPrice(folder string) string {
	d, err := openProbe(folder)
	if err != nil {
		return "not known: " + err.Error()
	}
	defer d.close()
	for range 5 {
		if _, err := d.syncs(); err != nil {
			return "not known: " + err.Error()
		}
	}
	return d.String()
}
