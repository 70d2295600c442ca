"""Robots: RoboArena, SimplerEnv, rollouts."""

import pytest

from policyrank.errors import EvidenceError


def session(preference, a, b, further=None):
    def robot(key, name):
        if name is None:
            return f"  {key}: null\n"
        return f"  {key}:\n    policy_name: {name}\n    binary_success: 1\n"

    policies = robot("A", a) + robot("B", b) + robot("C", further)
    return f"language_instruction: fold it\npreference: {preference}\npolicies:\n{policies}"


def test_preferences_are_about_a_and_b(folder, duels, noted):
    folder.write("s-1/metadata.yaml", session("A", "ant", "bee"))
    folder.write("s-2/metadata.yaml", session("TIE", "bee", "cat"))
    folder.write("s-3/metadata.yaml", session("B", "ant", "cat", further="dog"))
    folder.write("s-4/metadata.yaml", session("A", "ant", None))
    found = folder.read()
    assert duels(found) == [["ant", "bee", 1], ["bee", "cat", 0.5], ["ant", "cat", 0]]
    assert "dog" not in found.policies
    assert found.task.names == ("fold it",)
    assert "s-4" in noted(found, "no comparison of A and B")
    assert noted(found, "1 run of further policies")


def test_broken_sessions_are_refused(folder):
    folder.write("s-1/metadata.yaml", session("C", "ant", "bee"))
    with pytest.raises(EvidenceError, match="no usable outcome"):
        folder.read()
    folder.write("s-1/metadata.yaml", session("A", "ant", "bee") + "  B: [")
    with pytest.raises(EvidenceError, match=r"metadata\.yaml: no valid YAML"):
        folder.read()
    folder.write("s-1/metadata.yaml", session("A", "ant", "bee").replace("policy_name", "name"))
    with pytest.raises(EvidenceError, match="policy_name"):
        folder.read()


def video(folder, policy, environment, overlay, name):
    place = f"results/{policy}/scene_v4/arm_pd/{environment}/rob_0.35_rgb_overlay_{overlay}"
    folder.write(f"{place}/{name}", b"")
    folder.write(f"{place}/actions/{name.replace('.mp4', '.png')}", b"")


def test_names_of_videos_are_outcomes(folder, values, noted):
    can = "GraspSingleOpenedCokeCanInScene-v0_lr_switch_True"
    other = "GraspSingleOpenedCokeCanAltGoogleCameraInScene-v0_upright_True"
    for policy in ("ant", "bee"):
        video(folder, policy, can, "None", "failure_obj_1_consec_grasp_True.mp4")
        video(folder, policy, can, "None", "success_obj_2_consec_grasp_False.mp4")
        video(folder, policy, other, "None", "success_obj_1.mp4")
        video(folder, policy, can, "can_real_1", "failure_obj_1.mp4")
    scores = folder.read("results")
    task = "GraspSingleOpenedCokeCanInScene"
    assert values(scores)["ant"] == {
        f"{task}, variant aggregation": 0.666667,
        f"{task}, visual matching": 0,
    }
    assert noted(scores, "8 other files not read")


HEADER = "Panel,Task,Method,Success/Failure,Num_Successes,Num_Rollouts,Success_Rate,CLD_Letter\n"
ROWS = """A,Kiwi,ant,"[True,False,True,True]",3,4,0.75,a
A,Kiwi,bee,"[False,False,True,False]",1,4,0.25,b
B,Box,ant,"[True,False]",1,2,0.5,a
B,Box,bee,"[True,True]",2,2,1.0,a
"""


def test_each_rollout_in_the_list_counts(folder, values, noted):
    folder.write("fig.csv", HEADER + ROWS)
    scores = folder.read("fig.csv")
    assert values(scores) == {"ant": {"Kiwi": 0.75, "Box": 0.5}, "bee": {"Kiwi": 0.25, "Box": 1}}
    assert len(scores) == 12
    assert noted(scores, "not paired")


def test_panels_tell_equal_tasks_apart(folder, values):
    folder.write("fig.csv", HEADER + ROWS.replace("Box", "Kiwi"))
    assert values(folder.read("fig.csv"))["ant"] == {"A: Kiwi": 0.75, "B: Kiwi": 0.5}


def test_a_list_of_another_length_is_refused_or_counted(folder, values):
    broken = 'A,Kiwi,cat,"[True]",1,4,0.25,c\nA,Kiwi,dog,yes,1,1,1,c\n'
    folder.write("fig.csv", HEADER + ROWS + broken)
    with pytest.raises(EvidenceError, match="line 6: Success/Failure is no list"):
        folder.read("fig.csv")
    assert set(values(folder.read("fig.csv", bad="skip"))) == {"ant", "bee"}
