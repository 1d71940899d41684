package sqlite3_test

import (
	"flag"
	"os"
	"testing"
)

// TestMain lets eight tests run at the same time, unless -parallel says otherwise. The longest of those that may do so
// wait ten seconds for a lock that stays held, and need no processor.
func TestMain(m *testing.M) {
	flag.Parse()
	chosen := false
	flag.Visit(func(f *flag.Flag) { chosen = chosen || f.Name == "test.parallel" })
	if !chosen {
		flag.Set("test.parallel", "8")
	}
	os.Exit(m.Run())
}
