package task

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	agentv1 "github.com/batchyard/batchyard/proto/batchyard/agent/v1"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// reservedDiskBytes is the free space below which a node counts as full.
const reservedDiskBytes = 1_000_000

// Place is the node that a task finds itself on.
type Place struct {
	Root       string // absolute path of the node's root directory
	AccountID  string
	AccountURL string
	PoolID     string
	NodeID     string
	Dedicated  bool
	Base       []string // variables that every program needs: see BaseEnvironment
}

// Environment is what a task's environment is made of.
type Environment struct {
	Place
	JobID     string // empty for a start task
	TaskID    string // empty for a start task
	Directory string // absolute path of the task's directory
	// JobPreparationID is the id of the job preparation task that ran on this node; empty: none, or this is it.
	JobPreparationID string
	// AuthenticationToken is set where the task asked for one.
	AuthenticationToken string
	MultiInstance       *MultiInstance
	Element             *agentv1.Element            // of an array; nil: it is none
	Common              []*apiv1.EnvironmentSetting // of the job
	Packages            []string                    // NAME=value of the application packages
	Settings            []*apiv1.EnvironmentSetting // of the task; they win
}

// MultiInstance is what a subtask of a multi-instance task knows of the others.
type MultiInstance struct {
	Master     bool   // this is the primary
	MasterAddr string // ip:port
	Addresses  []string
	Cores      []int
	SharedDir  string // absolute path of the directory that is the same on all nodes
}

// Variables writes the environment as NAME=value in the order of names, each name once. What stands later wins: the
// node's variables, the AZ_BATCH variables, packages, the job's settings, the task's settings. Names and values that no
// process can be given (an empty name, one with '=', anything with NUL) are left out.
func (e *Environment) Variables() []string {
	set := make(map[string]string, 40)
	for _, pair := range e.Base {
		put(set, pair)
	}
	putValue(set, homeVariable, filepath.Join(e.Directory, dirWorking))
	e.azure(set)
	e.multiInstance(set)
	element(e.Element, set)
	for _, pair := range e.Packages {
		put(set, pair)
	}
	for _, settings := range [...][]*apiv1.EnvironmentSetting{e.Common, e.Settings} {
		for _, s := range settings {
			putValue(set, s.GetName(), s.GetValue())
		}
	}
	out := make([]string, 0, len(set))
	for name, value := range set {
		out = append(out, name+"="+value)
	}
	slices.Sort(out)
	return out
}

func (e *Environment) azure(set map[string]string) {
	under := func(name string) string { return filepath.Join(e.Root, name) }
	set["AZ_BATCH_ACCOUNT_NAME"] = e.AccountID
	set["AZ_BATCH_ACCOUNT_URL"] = e.AccountURL
	set["AZ_BATCH_POOL_ID"] = e.PoolID
	set["AZ_BATCH_NODE_ID"] = e.NodeID
	set["AZ_BATCH_NODE_IS_DEDICATED"] = strconv.FormatBool(e.Dedicated)
	set["AZ_BATCH_NODE_ROOT_DIR"] = e.Root
	set["AZ_BATCH_NODE_SHARED_DIR"] = under(dirShared)
	set["AZ_BATCH_NODE_STARTUP_DIR"] = under(dirStartup)
	set["AZ_BATCH_NODE_MOUNTS_DIR"] = under(dirMounts)
	set["AZ_BATCH_TASK_DIR"] = e.Directory
	set["AZ_BATCH_TASK_WORKING_DIR"] = filepath.Join(e.Directory, dirWorking)
	set["AZ_BATCH_TASK_RESERVED_EPHEMERAL_DISK_SPACE_BYTES"] = strconv.Itoa(reservedDiskBytes)
	if e.JobID != "" {
		set["AZ_BATCH_JOB_ID"] = e.JobID
	}
	if e.TaskID != "" {
		set["AZ_BATCH_TASK_ID"] = e.TaskID
	}
	if e.JobPreparationID != "" {
		preparation := filepath.Join(filepath.Dir(e.Directory), e.JobPreparationID)
		set["AZ_BATCH_JOB_PREP_DIR"] = preparation
		set["AZ_BATCH_JOB_PREP_WORKING_DIR"] = filepath.Join(preparation, dirWorking)
	}
	if e.AuthenticationToken != "" {
		set["AZ_BATCH_AUTHENTICATION_TOKEN"] = e.AuthenticationToken
	}
	if certificatesVariable {
		set["AZ_BATCH_CERTIFICATES_DIR"] = filepath.Join(e.Directory, "certs")
	}
}

func (e *Environment) multiInstance(set map[string]string) {
	m := e.MultiInstance
	if m == nil {
		return
	}
	set["AZ_BATCH_IS_CURRENT_NODE_MASTER"] = strconv.FormatBool(m.Master)
	set["AZ_BATCH_MASTER_NODE"] = m.MasterAddr
	set["AZ_BATCH_HOST_LIST"] = strings.Join(m.Addresses, ",")
	set["AZ_BATCH_NODE_LIST"] = strings.Join(m.Addresses, ";")
	set["AZ_BATCH_TASK_SHARED_DIR"] = m.SharedDir
	nodes := []string{strconv.Itoa(len(m.Addresses))}
	for i, address := range m.Addresses {
		cores := 1
		if i < len(m.Cores) {
			cores = m.Cores[i]
		}
		nodes = append(nodes, address, strconv.Itoa(cores))
	}
	set["CCP_NODES"] = strings.Join(nodes, " ")
}

func put(set map[string]string, pair string) {
	if name, value, ok := strings.Cut(pair, "="); ok {
		putValue(set, name, value)
	}
}

func putValue(set map[string]string, name, value string) {
	name = variableName(name)
	if name == "" || strings.ContainsAny(name, "=\x00") || strings.Contains(value, "\x00") {
		return
	}
	set[name] = value
}
