package api

import (
	"context"
	"slices"
	"strconv"

	"github.com/batchyard/batchyard/internal/batcherr"
	"github.com/batchyard/batchyard/internal/lifecycle"
	apiv1 "github.com/batchyard/batchyard/proto/batchyard/api/v1"
)

// checkPool says what is wrong with a new pool but its id.
func (c *core) checkPool(p *apiv1.Pool) error {
	if err := c.rules.check(p, ""); err != nil {
		return err
	}
	if err := checkAutoScale(p); err != nil {
		return err
	}
	if err := checkTarget("targetDedicatedNodes", p.TargetDedicatedNodes); err != nil {
		return err
	}
	if err := checkTarget("targetLowPriorityNodes", p.TargetLowPriorityNodes); err != nil {
		return err
	}
	if err := checkAtLeast("resizeTimeout", p.ResizeTimeout, lifecycle.MinResizeTimeout); err != nil {
		return err
	}
	if err := checkNetwork("networkConfiguration", p.NetworkConfiguration); err != nil {
		return err
	}
	return checkPoolCommon(p)
}

// poolCommon are the properties that new and changed pools have in common.
type poolCommon interface {
	GetDisplayName() string
	GetTaskSlotsPerNode() int32
	GetApplicationPackageReferences() []*apiv1.ApplicationPackageReference
	GetMetadata() []*apiv1.MetadataItem
	GetStartTask() *apiv1.StartTask
	GetVirtualMachineConfiguration() *apiv1.VirtualMachineConfiguration
	GetUserAccounts() []*apiv1.UserAccount
	GetMountConfiguration() []*apiv1.MountConfiguration
}

func checkPoolCommon(p poolCommon) error {
	if err := checkDisplayName("displayName", p.GetDisplayName()); err != nil {
		return err
	}
	if err := checkSlotsPerNode(p); err != nil {
		return err
	}
	if err := checkStartTask("startTask", p.GetStartTask()); err != nil {
		return err
	}
	refs := p.GetApplicationPackageReferences()
	if len(refs) > lifecycle.MaxPoolPackages {
		return invalid("applicationPackageReferences", strconv.Itoa(len(refs)), "A pool has at most 10 application packages.")
	}
	if err := checkPackages("applicationPackageReferences", refs); err != nil {
		return err
	}
	if err := checkMetadata("metadata", p.GetMetadata()); err != nil {
		return err
	}
	if err := checkAccounts("userAccounts", p.GetUserAccounts()); err != nil {
		return err
	}
	if err := checkContainers("virtualMachineConfiguration.containerConfiguration", p.GetVirtualMachineConfiguration().GetContainerConfiguration()); err != nil {
		return err
	}
	if err := checkMounts("mountConfiguration", p.GetMountConfiguration()); err != nil {
		return err
	}
	return checkDisks("virtualMachineConfiguration.dataDisks", p.GetVirtualMachineConfiguration().GetDataDisks())
}

func checkSlotsPerNode(p poolCommon) error {
	var slots *int32
	switch p := p.(type) {
	case *apiv1.Pool:
		slots = p.TaskSlotsPerNode
	case *apiv1.PoolUpdateOptions:
		slots = p.TaskSlotsPerNode
	}
	if slots != nil && (*slots < 1 || *slots > lifecycle.MaxSlotsPerNode) {
		return invalidNumber("taskSlotsPerNode", *slots, "A node has 1 to 256 task slots.")
	}
	return nil
}

func checkTarget(at path, target *int32) error {
	if target != nil && (*target < 0 || *target > lifecycle.MaxPoolNodes) {
		return invalidNumber(at, *target, "The number of nodes is from 0 to 100000.")
	}
	return nil
}

func checkDisks(at path, disks []*apiv1.DataDisk) error {
	seen := map[int32]bool{}
	for i, d := range disks {
		switch {
		case d.Lun < 0 || d.Lun > 63:
			return invalidNumber(at.index(i).at("lun"), d.Lun, "A logical unit number is from 0 to 63.")
		case seen[d.Lun]:
			return invalidNumber(at.index(i).at("lun"), d.Lun, "The logical unit number is there twice.")
		case d.DiskSizeGb < 1:
			return invalidNumber(at.index(i).at("diskSizeGB"), d.DiskSizeGb, "A disk has 1 GB or more.")
		}
		seen[d.Lun] = true
	}
	return nil
}

// Ports of inbound endpoints that Azure Batch keeps for itself.
const (
	reservedBackendLow, reservedBackendHigh   = 29876, 29877
	reservedFrontendLow, reservedFrontendHigh = 50000, 55000
	maxFrontendPort                           = 65534
	minFrontendPorts                          = 40
	maxNATPools                               = 5
)

func checkNetwork(at path, n *apiv1.NetworkConfiguration) error {
	pools := n.GetEndpointConfiguration().GetInboundNatPools()
	at = at.at("endpointConfiguration").at("inboundNATPools")
	if len(pools) > maxNATPools {
		return invalid(at, strconv.Itoa(len(pools)), "A pool has at most 5 inbound NAT pools.")
	}
	for i, p := range pools {
		first, last := p.FrontendPortRangeStart, p.FrontendPortRangeEnd
		switch here := at.index(i); {
		case p.BackendPort < 1 || p.BackendPort > 65535 || p.BackendPort >= reservedBackendLow && p.BackendPort <= reservedBackendHigh:
			return invalidNumber(here.at("backendPort"), p.BackendPort, "The port is from 1 to 65535, and neither 29876 nor 29877.")
		case first < 1 || first > maxFrontendPort:
			return invalidNumber(here.at("frontendPortRangeStart"), first, "The port is from 1 to 65534.")
		case last > maxFrontendPort || last < first+minFrontendPorts-1:
			return invalidNumber(here.at("frontendPortRangeEnd"), last, "The range holds at least 40 ports, up to 65534.")
		case first <= reservedFrontendHigh && last >= reservedFrontendLow:
			return invalidNumber(here.at("frontendPortRangeStart"), first, "The ports 50000 to 55000 are reserved.")
		}
	}
	return nil
}

// checkPoolUpdate says what is wrong with a change of a pool. cleared are the lists that it empties.
func (c *core) checkPoolUpdate(u *apiv1.PoolUpdateOptions, cleared []string) error {
	if err := c.rules.check(u, ""); err != nil {
		return err
	}
	if err := checkCleared(cleared, "startTask", "applicationPackageReferences", "metadata", "userAccounts", "mountConfiguration"); err != nil {
		return err
	}
	if err := checkNetwork("networkConfiguration", u.NetworkConfiguration); err != nil {
		return err
	}
	return checkPoolCommon(u)
}

// checkCleared refuses names that are none of the lists that a change can empty.
func checkCleared(cleared []string, lists ...string) error {
	for _, name := range cleared {
		if !slices.Contains(lists, name) {
			return invalid("cleared", name, "The property can't be cleared.")
		}
	}
	return nil
}

func (c *core) checkResize(o *apiv1.PoolResizeOptions) error {
	if err := c.rules.check(o, ""); err != nil {
		return err
	}
	if o.TargetDedicatedNodes == nil && o.TargetLowPriorityNodes == nil {
		return batcherr.MissingProperty("targetDedicatedNodes")
	}
	if err := checkTarget("targetDedicatedNodes", o.TargetDedicatedNodes); err != nil {
		return err
	}
	if err := checkTarget("targetLowPriorityNodes", o.TargetLowPriorityNodes); err != nil {
		return err
	}
	return checkAtLeast("resizeTimeout", o.ResizeTimeout, lifecycle.MinResizeTimeout)
}

func (c *core) checkRemoval(o *apiv1.NodeRemoveOptions) error {
	if err := c.rules.check(o, ""); err != nil {
		return err
	}
	switch n := len(o.NodeList); {
	case n == 0:
		return batcherr.MissingProperty("nodeList")
	case n > lifecycle.MaxNodesPerRemoval:
		return invalid("nodeList", strconv.Itoa(n), "At most 100 nodes are removed at once.")
	}
	return checkAtLeast("resizeTimeout", o.ResizeTimeout, lifecycle.MinResizeTimeout)
}

// packagesExist refuses references of a pool to packages that can't be had: Azure Batch answers them with 409.
func (c *core) packagesExist(ctx context.Context, g grant, refs []*apiv1.ApplicationPackageReference) error {
	if len(refs) == 0 {
		return nil
	}
	if err := c.Reader.Barrier(ctx); err != nil {
		return err
	}
	for _, ref := range refs {
		rec, err := c.State.Application(g.Account, ref.ApplicationId)
		if err != nil {
			return internal(err)
		}
		if why := lifecycle.PackageFault(rec.GetApplication(), ref.Version); why != "" {
			return batcherr.Of(batcherr.CodeInvalidApplicationPackageReferences).
				With(ref.ApplicationId, ref.Version).With(batcherr.ValueReason, why)
		}
	}
	return nil
}
