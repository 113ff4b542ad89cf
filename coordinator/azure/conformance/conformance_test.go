package conformance_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/batchyard/batchyard/coordinator/azure"
	"github.com/batchyard/batchyard/coordinator/azure/conformance"
	"github.com/stretchr/testify/require"
)

func TestParseResults(t *testing.T) {
	results, err := conformance.ParseResults(strings.NewReader("Jobs_GetJob\tc\tpass\t\nJobs_ListJobs\tc\tfail\twhy\tnot\n"))
	require.NoError(t, err)
	require.Equal(t, []conformance.Result{
		{Operation: "Jobs_GetJob", Client: "c", Passed: true},
		{Operation: "Jobs_ListJobs", Client: "c", Reason: "why\tnot"},
	}, results)
	for _, text := range []string{"Jobs_GetJob pass\n", "a\tb\tmaybe\tc\n"} {
		_, err = conformance.ParseResults(strings.NewReader(text))
		require.Error(t, err)
	}
}

func TestTable(t *testing.T) {
	client := conformance.Clients()[0].Name
	table := conformance.Table([]conformance.Result{
		{Operation: "Jobs_GetJob", Client: client, Passed: true},
		{Operation: "Jobs_ListJobs", Client: client, Reason: "a|b of conf-job-0123abCD"},
		{Operation: "Certificate_Get", Client: client, Passed: true, Reason: "refused as documented: CertificateNotFound"},
	})
	require.Contains(t, table, "| Jobs_GetJob | `GET /jobs/{jobId}` | passes | — | — |\n")
	require.Contains(t, table, "| Jobs_ListJobs | `GET /jobs` | **Not yet**: a\\|b of conf-job | — | — |\n")
	require.Contains(t, table, "| *Refused*: CertificateNotFound | — | — |\n")
	for _, route := range azure.Routes() {
		require.Contains(t, table, "| "+route.Operation+" |")
	}
}

// TestProgramsCoverEveryOperation holds the programs against the table of routes, so that none is forgotten.
func TestProgramsCoverEveryOperation(t *testing.T) {
	reported := regexp.MustCompile(`\bop\("([A-Za-z_]+)"`)
	for program, lacks := range map[string][]string{
		"track1.py": {"Nodes_StartNode", "Nodes_DeallocateNode", "Pool_GetAllLifetimeStatistics", "Job_GetAllLifetimeStatistics"},
		"track2.py": {"ComputeNode_GetRemoteDesktop", "Pool_GetAllLifetimeStatistics", "Job_GetAllLifetimeStatistics", "Certificate_Add",
			"Certificate_List", "Certificate_Get", "Certificate_Delete", "Certificate_CancelDeletion"},
		"js10.mjs": {"Nodes_StartNode", "Nodes_DeallocateNode"},
	} {
		text, err := os.ReadFile(program)
		require.NoError(t, err)
		var found []string
		for _, match := range reported.FindAllStringSubmatch(string(text), -1) {
			found = append(found, match[1])
		}
		for _, route := range azure.Routes() {
			require.Equal(t, !slices.Contains(lacks, route.Operation), slices.Contains(found, route.Operation), "%s: %s", program, route.Operation)
		}
	}
}
