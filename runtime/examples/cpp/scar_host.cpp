// Myocardial scar from C++: the model file of scarseg-infer on OpenVINO. Research use only.
// Build  pip install openvino && cmake -S . -B build && cmake --build build
// Run    build/scar_host MODEL STUDY labels.u8 > result.json    (MODEL and STUDY: ../README.md)
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <numeric>
#include <openvino/frontend/manager.hpp>
#include <openvino/runtime/core.hpp>
namespace fs = std::filesystem;
using Numbers = std::vector<double>;
struct Failure { int code; std::string text; };  // 2 usage, 3 study, 4 ECG, 5 model, 6 output
void require(bool fine, int code, const std::string& text) { if (!fine) throw Failure{code, text}; }

// Inputs of the graph by the names of contract.py; the volume of a voxel in each slice.
struct Study { std::map<std::string, ov::Tensor> inputs; Numbers voxel_ml; };

ov::Tensor tensor(const ov::Shape& shape, const Numbers& values) {
    ov::Tensor made(ov::element::f32, shape);
    std::copy(values.begin(), values.end(), made.data<float>());
    return made;
}

ov::Tensor read_tensor(const fs::path& file, const ov::Shape& shape, int code) {
    const size_t bytes = ov::shape_size(shape) * sizeof(float);
    std::error_code unread;  // the size is known to be right before memory is taken
    require(fs::file_size(file, unread) == bytes && !unread, code,
            file.filename().string() + " is missing or does not have the size that study.txt says");
    ov::Tensor read(ov::element::f32, shape);
    std::ifstream in(file, std::ios::binary);
    in.read(static_cast<char*>(read.data()), bytes);
    const float *first = read.data<float>(), *last = first + read.get_size();
    const bool finite = std::all_of(first, last, [](float value) { return std::isfinite(value); });
    require(in && finite, code, file.filename().string() + " is unreadable, or not all finite");
    return read;
}

// As preprocess.slice_levels and quantify.slice_heights_mm: a missing slice leaves its gap.
void place_slices(Study& study, const Numbers& at_mm, double thickness_mm, double pixel_mm2) {
    const size_t last = at_mm.size() - 1;
    const double length = at_mm[last] - at_mm[0], sign = length < 0 ? -1 : 1;
    Numbers steps(last == 0, thickness_mm), levels;
    for (size_t s = 0; s < last; ++s) steps.push_back((at_mm[s + 1] - at_mm[s]) * sign);
    Numbers sorted = steps;
    std::sort(sorted.begin(), sorted.end());
    require(sorted[0] > 0, 3, "the slices are not in order, or one is of unknown thickness");
    const double usual = (sorted[(sorted.size() - 1) / 2] + sorted[sorted.size() / 2]) / 2;
    for (size_t s = 0; s <= last; ++s) {
        const double both = (s > 0 ? steps[s - 1] : usual) + (s < last ? steps[s] : usual);
        study.voxel_ml.push_back(both / 2 * pixel_mm2 / 1000);
        levels.push_back(last == 0 ? 0.5 : (at_mm[s] - at_mm[0]) / length);
    }
    study.inputs["slice_level"] = tensor({last + 1}, levels);
}

Study read_study(const fs::path& folder) {
    std::ifstream in(folder / "study.txt");
    const Numbers n(std::istream_iterator<double>(in), {});
    const auto within = [&](size_t first, size_t count, double least, double most) {
        return first + count <= n.size() && std::all_of(&n[first], &n[first] + count,
            [=](double value) { return value >= least && value <= most; });
    };
    const bool sizes = in.eof() && within(0, 3, 1, 4096) && n[0] * n[1] * n[2] <= 1 << 26;
    const ov::Shape shape(n.begin(), n.begin() + (sizes ? 3 : 0));
    require(sizes && std::equal(shape.begin(), shape.end(), n.begin()), 3,
            "study.txt is missing or does not begin with three whole sizes to 4096, 2^26 in all");
    const size_t end = 5 + shape[0];  // thickness, validity and, where they are known, days
    require(n.size() == end + 2 || n.size() == end + 3, 3, "study.txt has too many or few numbers");
    require(within(3, 2, 0.1, 10) && within(5, shape[0], -1e4, 1e4) && within(end, 1, 0, 50), 3,
            "pixel spacing, slice positions or thickness in study.txt are not in mm");
    Study study;
    place_slices(study, Numbers(&n[5], &n[end]), n[end], n[3] * n[4]);
    study.inputs["lge"] = read_tensor(folder / "lge.f32", shape, 3);
    study.inputs["pixel_spacing"] = tensor({2}, {n[3], n[4]});
    const bool given = n[end + 1] == 1 || std::ifstream(folder / "ecg.f32").is_open();
    study.inputs["ecg"] = given ? read_tensor(folder / "ecg.f32", {12, 512}, 4)
                                : tensor({12, 512}, Numbers(12 * 512));
    // As taff.decide: a time that is unknown or negative is no time of zero days.
    const bool valid = n[end + 1] == 1 && n.size() == end + 3 && n[end + 2] >= 0;
    study.inputs["ecg_valid"] = tensor({1}, {valid ? 1.0 : 0.0});
    study.inputs["gap_days"] = tensor({1}, {valid ? n[end + 2] : 0.0});
    return study;
}

ov::InferRequest infer(const char* file, const Study& study) {  // of many, keep the compiled model
    ov::Core core;  // its own read_model would try the readers of every format on any file
    const auto reader = ov::frontend::FrontEndManager().load_by_framework("onnx");
    const auto graph = reader->convert(reader->load(file));
    const auto version = graph->get_rt_info<std::string>("framework", "scarseg.format_version");
    require(version == "\"3\"", 5, "the model file has another format version than this host");
    // FP32 by name: where the processor has BF16, OpenVINO would take that.
    auto model = core.compile_model(graph, "CPU", ov::hint::inference_precision(ov::element::f32));
    auto request = model.create_infer_request();
    for (const auto& input : model.inputs())  // an image-only model has the first three
        request.set_tensor(input, study.inputs.at(input.get_any_name()));
    request.infer();
    return request;
}

void save(const fs::path& target, const uint8_t* labels, size_t count) {  // whole or not at all
    std::error_code error, ignored;
    require(!fs::exists(target, error) || fs::is_regular_file(target), 6, "LABELS is no file");
    const fs::path part = target.string() + ".part";
    std::ofstream out(part, std::ios::binary);
    out.write(reinterpret_cast<const char*>(labels), count);
    out.close();
    if (out) fs::rename(part, target, error);
    if (!out || error) fs::remove(part, ignored);
    require(out && !error, 6, "the labels cannot be written");
}

int main(int count, char** arguments) try {
    require(count == 4, 2, "usage: scar_host MODEL STUDY LABELS");
    const auto study = read_study(arguments[2]);
    auto outputs = infer(arguments[1], study);
    const size_t voxels = study.inputs.at("lge").get_size();
    const auto get = [&](const char* name) {
        require(outputs.get_tensor(name).get_size() == voxels, 5, "the model gives another grid");
        return outputs.get_tensor(name).data<uint8_t>();
    };
    auto *labels = get("labels"), *segments = get("segments"), *alone = get("image_only_labels");
    save(arguments[3], labels, voxels);
    // As quantities.py: mL of scar and of myocardium with it, by AHA segment and in [0] of all.
    Numbers scar(256), wall(256), alone_scar(1);
    for (size_t i = 0; i < voxels; ++i) {
        const double ml = study.voxel_ml[i / (voxels / study.voxel_ml.size())];
        if (labels[i] == 2 || labels[i] == 3) wall[segments[i]] += ml;
        if (labels[i] == 3) scar[segments[i]] += ml;
        if (alone[i] == 3) alone_scar[0] += ml;
    }
    for (auto* ml : {&scar, &wall}) ml->front() = std::accumulate(ml->begin(), ml->end(), 0.0);
    std::cout << "{\"scar_ml\": " << scar[0] << ", \"myocardium_g\": " << wall[0] * 1.05
              << ", \"image_only_scar_ml\": " << alone_scar[0];
    for (auto name : {"ecg_weight", "ecg_image_disagreement"})
        std::cout << ", \"" << name << "\": " << *outputs.get_tensor(name).data<float>();
    for (int n = 0; n <= 17; ++n)  // share of scar in the myocardium; null where there is none
        std::cout << (n == 0 ? ", \"burden\": " : n == 1 ? ", \"segment_burden\": [" : ", ")
                  << (wall[n] > 0 ? std::to_string(scar[n] / wall[n]) : "null");
    std::cout << "]}" << std::endl;
    require(std::cout.good(), 6, "the result cannot be written");
} catch (const Failure& failure) {
    std::cerr << failure.text << ".\n";
    return failure.code;
} catch (const std::exception&) {  // the text of OpenVINO has many lines and names files
    std::cerr << "OpenVINO cannot run the model file: take one of scarseg-export onnx.\n";
    return 5;
}
