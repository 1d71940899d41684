package main

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain is also where the workers begin, which are processes of this program.
func TestMain(m *testing.M) {
	if os.Getenv(workerEnv) == "" {
		os.Exit(m.Run())
	}
	main()
}

func TestEveryOrderAndEveryMailIsThereOnce(t *testing.T) {
	var out bytes.Buffer
	require.NoError(t, start(&out))
	assert.Contains(t, out.String(), "1000 orders, 0 of them doubles; 1000 e-mails sent, 0 of them doubles; 0 e-mails pending.")
}
