package prom_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/groupcommit/groupcommit"
	"github.com/groupcommit/groupcommit/prom"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

var (
	fqName = regexp.MustCompile(`fqName: "groupcommit_(\w+)"`)
	row    = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (?:gauge|counter|histogram) \\|")
)

func TestThePageHasEveryMetricAndNoOther(t *testing.T) {
	page, err := os.ReadFile("../docs/metrics.md")
	require.NoError(t, err)
	_, of, ok := strings.Cut(string(page), "## Prometheus")
	require.True(t, ok)
	var have, want []string
	for _, m := range row.FindAllStringSubmatch(of, -1) {
		have = append(have, m[1])
	}
	all := make(chan *prometheus.Desc, 100)
	prom.NewCollector(nil, "main").Describe(all)
	close(all)
	for d := range all {
		want = append(want, fqName.FindStringSubmatch(d.String())[1])
	}
	require.ElementsMatch(t, want, have)
	for class := groupcommit.ErrorOther; class.Label() != "invalid"; class++ {
		require.Contains(t, string(page), "| `"+class.Label()+"` |")
	}
}
