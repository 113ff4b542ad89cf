package task

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

func variables(t *testing.T, e *Environment) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pair := range e.Variables() {
		name, value, ok := strings.Cut(pair, "=")
		require.True(t, ok)
		require.NotContains(t, out, name, "each name once")
		out[name] = value
	}
	return out
}

func setting(name, value string) *apiv1.EnvironmentSetting {
	return &apiv1.EnvironmentSetting{Name: name, Value: value}
}

func place(root string) Place {
	return Place{
		Root: root, AccountID: "acme", AccountURL: "https://host:7443", PoolID: "p", NodeID: "n1", Dedicated: true,
		Base: []string{"PATH=/bin"},
	}
}

func TestEnvironmentOfATask(t *testing.T) {
	root := filepath.FromSlash("/mnt/batch")
	dir := filepath.Join(root, "workitems", "j", "job-1", "t")
	e := &Environment{Place: place(root), JobID: "j", TaskID: "t", Directory: dir}
	got := variables(t, e)
	want := map[string]string{
		"PATH":                       "/bin",
		homeVariable:                 filepath.Join(dir, "wd"),
		"AZ_BATCH_ACCOUNT_NAME":      "acme",
		"AZ_BATCH_ACCOUNT_URL":       "https://host:7443",
		"AZ_BATCH_JOB_ID":            "j",
		"AZ_BATCH_TASK_ID":           "t",
		"AZ_BATCH_POOL_ID":           "p",
		"AZ_BATCH_NODE_ID":           "n1",
		"AZ_BATCH_NODE_IS_DEDICATED": "true",
		"AZ_BATCH_NODE_ROOT_DIR":     root,
		"AZ_BATCH_NODE_SHARED_DIR":   filepath.Join(root, "shared"),
		"AZ_BATCH_NODE_STARTUP_DIR":  filepath.Join(root, "startup"),
		"AZ_BATCH_NODE_MOUNTS_DIR":   filepath.Join(root, "fsmounts"),
		"AZ_BATCH_TASK_DIR":          dir,
		"AZ_BATCH_TASK_WORKING_DIR":  filepath.Join(dir, "wd"),
		"AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES": "1000000",
	}
	if certificatesVariable {
		want["AZ_BATCH_CERTIFICATES_DIR"] = filepath.Join(dir, "certs")
	}
	require.Equal(t, want, got)
	require.IsIncreasing(t, e.Variables())
}

func TestEnvironmentOfOtherKinds(t *testing.T) {
	root := filepath.FromSlash("/b")
	dir := filepath.Join(root, "workitems", "j", "job-1", "t")
	start := variables(t, &Environment{Place: place(root), Directory: filepath.Join(root, "startup")})
	require.NotContains(t, start, "AZ_BATCH_JOB_ID")
	require.NotContains(t, start, "AZ_BATCH_TASK_ID")

	got := variables(t, &Environment{
		Place: place(root), JobID: "j", TaskID: "t", Directory: dir, JobPreparationID: "prep", AuthenticationToken: "tok",
		MultiInstance: &MultiInstance{
			Master: true, MasterAddr: "10.0.0.4:6000", Addresses: []string{"10.0.0.4", "10.0.0.5"}, Cores: []int{1, 4}, SharedDir: dir,
		},
	})
	for name, value := range map[string]string{
		"AZ_BATCH_JOB_PREP_DIR":           filepath.Join(filepath.Dir(dir), "prep"),
		"AZ_BATCH_JOB_PREP_WORKING_DIR":   filepath.Join(filepath.Dir(dir), "prep", "wd"),
		"AZ_BATCH_AUTHENTICATION_TOKEN":   "tok",
		"AZ_BATCH_IS_CURRENT_NODE_MASTER": "true",
		"AZ_BATCH_MASTER_NODE":            "10.0.0.4:6000",
		"AZ_BATCH_HOST_LIST":              "10.0.0.4,10.0.0.5",
		"AZ_BATCH_NODE_LIST":              "10.0.0.4;10.0.0.5",
		"AZ_BATCH_TASK_SHARED_DIR":        dir,
		"CCP_NODES":                       "2 10.0.0.4 1 10.0.0.5 4",
	} {
		require.Equal(t, value, got[name], name)
	}
}

func TestWhoseSettingWins(t *testing.T) {
	got := variables(t, &Environment{
		Place: place("/b"), Directory: "/b/d", JobID: "j", TaskID: "t",
		Packages: []string{"AZ_BATCH_APP_PACKAGE_x=/p", "A=package"},
		Common:   []*apiv1.EnvironmentSetting{setting("A", "job"), setting("B", "job"), setting("PATH", "/job/bin")},
		Settings: []*apiv1.EnvironmentSetting{
			setting("B", "task"), setting("EMPTY", ""), setting("C", "a=b"), setting("", "x"), setting("D=E", "x"),
			setting("F", "x\x00y"), setting("G\x00", "x"), setting("AZ_BATCH_POOL_ID", "mine"),
		},
	})
	require.Equal(t, "job", got["A"])
	require.Equal(t, "task", got["B"])
	require.Equal(t, "/job/bin", got["PATH"])
	require.Equal(t, "", got["EMPTY"])
	require.Equal(t, "a=b", got["C"])
	require.Equal(t, "mine", got["AZ_BATCH_POOL_ID"])
	require.Equal(t, "/p", got["AZ_BATCH_APP_PACKAGE_x"])
	for _, name := range []string{"", "D", "D=E", "F", "G", "G\x00"} {
		require.NotContains(t, got, name)
	}
}

func TestNothingOfTheAgentLeaks(t *testing.T) {
	t.Setenv("BATCHYARD_SECRET_CANARY", "canary")
	e := Environment{Place: Place{Base: BaseEnvironment()}}
	require.NotContains(t, strings.Join(e.Variables(), "\n"), "canary")
}

func TestDirectories(t *testing.T) {
	for job, want := range map[string]string{"j": "workitems/j/job-1/t", "nightly:job-3": "workitems/nightly/job-3/t"} {
		got, err := Directory(job, "t")
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.True(t, isTaskDirectory(got))
	}
	for _, wrong := range []string{"", "..", "a/b", "a:b:c", ":job-1", "a:", `a\b`, "a:..", "a\x00"} {
		_, err := Directory(wrong, "t")
		require.Error(t, err, wrong)
		_, err = Directory("j", wrong)
		require.Error(t, err, wrong)
	}
	for _, wrong := range []string{"", "workitems", "workitems/../job-1/t", "shared/a/b/c", "workitems/a/b/c/d", "/workitems/a/b"} {
		require.False(t, isTaskDirectory(wrong), wrong)
	}
}
