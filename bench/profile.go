package main

import (
	"errors"
	"flag"
	"os"
	"runtime/pprof"
)

func profileFlag(fs *flag.FlagSet, to *string) {
	fs.Func("cpuprofile", "write a profile of the processor to `FILE`, for go tool pprof", func(s string) error {
		if *to = s; s == "-" {
			return errors.New("the name of a file is allowed")
		}
		return writable(s)
	})
}

// startProfile begins a profile, unless the file is "". stop ends it.
func startProfile(file string) (stop func() error, err error) {
	if file == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
