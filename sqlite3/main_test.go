package sqlite3_test

import (
	"flag"
	"os"
	"testing"

	"github.com/groupcommit/groupcommit/sqlite3"
)

// TestMain lets eight tests run at the same time, unless -parallel says otherwise. The longest of those that may do so
// wait ten seconds for a lock that stays held, and need no processor.
//
// With -bydriver all tests run without segments, as where the driver's handles cannot be used.
func TestMain(m *testing.M) {
	byDriver := flag.Bool("bydriver", false, "have each step of a group go by the driver's own call")
	flag.Parse()
	if *byDriver {
		sqlite3.DriverOnly()
	}
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}
