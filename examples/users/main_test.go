package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func output(t *testing.T, args ...string) string {
	var out bytes.Buffer
	require.NoError(t, start(args, &out))
	return out.String()
}

func TestManyUsersShareACommit(t *testing.T) {
	out := output(t, "--users=2000")
	assert.Contains(t, out, "Inserting 2000 users took ")
	assert.Contains(t, out, "the table has 2000 rows")
	assert.Contains(t, out, "Values from 0 to ")
	assert.Contains(t, out, " to 1999 have been inserted.")
	batches := strings.Count(out, "have been inserted.")
	assert.GreaterOrEqual(t, batches, 2, "a batch has at most 1,000")
	assert.Less(t, batches, 2000/10)
}

func TestOneByOneEachUserHasACommit(t *testing.T) {
	out := output(t, "--no-batch", "--users=20")
	assert.Equal(t, 20, strings.Count(out, "has been inserted."))
	assert.Contains(t, out, "with batching=false, in 20 commits; the table has 20 rows.")
}

func TestNoUsersNeedNoCommit(t *testing.T) {
	assert.Contains(t, output(t, "--users=0"), "in 0 commits; the table has 0 rows.")
}

func TestTheLastOfBatchAndNoBatchCounts(t *testing.T) {
	assert.Contains(t, output(t, "--no-batch", "--batch", "--users=1"), "with batching=true")
	assert.Contains(t, output(t, "--no-batch=false", "--users=1"), "with batching=true")
	assert.Contains(t, output(t, "--batch=false", "--users=1"), "with batching=false")
}

func TestBadFlagsAreNamed(t *testing.T) {
	for args, says := range map[string]string{
		"--users=many":     `invalid value "many" for flag -users: a whole number from 0 to 100000 is allowed`,
		"--users=-1":       `invalid value "-1" for flag -users: a whole number`,
		"--users=100001":   `invalid value "100001" for flag -users: a whole number`,
		"--no-batch=maybe": `invalid boolean value "maybe" for -no-batch: true or false is allowed`,
		"--values=7":       "flag provided but not defined: -values",
		"7":                `unexpected argument "7"`,
	} {
		var out bytes.Buffer
		assert.ErrorContains(t, start([]string{args}, &out), says)
		assert.Empty(t, out.String())
	}
}
